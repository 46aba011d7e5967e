"""docs/metrics.md, from the registered metrics."""

from doclib.markdown import code, table
from edge_agent.config import Telemetry
from edge_agent.telemetry.metrics import Description, described

INTRODUCTION = f"""# Metrics

The agent tells its figures as Prometheus reads them, on `http://{Telemetry().metrics}/metrics` (setting
`telemetry.metrics`; loopback only, since nobody is asked for a login). Names that begin with `nv_` are those of Triton
Inference Server and mean the same here, so its dashboards find them; their kind is told as unknown, since a counter
would have to end with `_total`. Histograms bring `_bucket`, `_sum` and `_count`. `docs/grafana.json` is a dashboard of
them: import it in Grafana and choose the Prometheus that reads the device.

What else Triton has, and where it stands here: `nv_inference_exec_count` is `edge_agent_request_phase_seconds_count` of
the phase `compute`; `nv_inference_pending_request_count` is `edge_agent_requests_in_flight`, which also counts requests
being computed; its latency summaries are the histograms here; the failure reasons `REJECTED`, `CANCELED`, `BACKEND` and
`OTHER` are the codes of the answers here. Figures of the GPU and the host are left to their own exporters.

"""


def document() -> str:
    """Return the whole page."""
    rows = (
        (code(_name(each)), each.kind, ", ".join(map(code, each.labels)), each.meaning) for each in sorted(described())
    )
    return INTRODUCTION + table(("name", "kind", "labels", "meaning"), rows) + "\n"


def _name(metric: Description) -> str:
    return f"{metric.name}_total" if metric.kind == "counter" else metric.name
