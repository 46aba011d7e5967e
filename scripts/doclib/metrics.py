"""docs/metrics.md, from the registered metrics."""

from doclib.markdown import code, table
from edge_agent.config import Telemetry
from edge_agent.telemetry.metrics import Description, described

INTRODUCTION = f"""# Metrics

The agent tells its figures as Prometheus reads them, on `http://{Telemetry().metrics}/metrics` (setting
`telemetry.metrics`; loopback only, since nobody is asked for a login). Names that begin with `nv_` are those of Triton
Inference Server and mean the same here, so its dashboards find them; their kind is told as unknown, since a counter
would have to end with `_total`. Histograms bring `_bucket`, `_sum` and `_count`.

"""


def document() -> str:
    """Return the whole page."""
    rows = (
        (code(_name(each)), each.kind, ", ".join(map(code, each.labels)), each.meaning) for each in sorted(described())
    )
    return INTRODUCTION + table(("name", "kind", "labels", "meaning"), rows) + "\n"


def _name(metric: Description) -> str:
    return f"{metric.name}_total" if metric.kind == "counter" else metric.name
