"""Events, logs, figures and watched threads."""

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from edge_agent.config import is_loopback
from edge_agent.errors import Code, ConfigError, StorageError
from edge_agent.formats import Counts
from edge_agent.telemetry import logs, metrics
from edge_agent.telemetry.events import Events, Subscription
from edge_agent.telemetry.threads import Watched, silent_threads

WAIT_S = 30


def published(events: Events, amount: int) -> None:
    for number in range(amount):
        events.publish(Counts(ok=number))


def ids(subscription: Subscription, amount: int) -> list[int]:
    return [next(subscription).id for _ in range(amount)]


def told(name: str) -> float:
    """What /metrics says of a figure without labels."""
    return float(metrics.exposition().decode().split(f"\n{name} ")[1].split("\n")[0])


def test_a_reader_gets_the_events_from_now_on() -> None:
    events = Events(now=lambda: 7.0)
    published(events, 3)
    reader = events.subscribe()
    published(events, 2)
    event = next(reader)
    assert (event.id, event.at, event.payload) == (4, 7.0, Counts(ok=0))
    assert next(reader).id == 5


def test_a_reader_that_comes_back_gets_what_it_missed() -> None:
    events = Events()
    published(events, 5)
    assert ids(events.subscribe(after=2), 3) == [3, 4, 5]


def test_a_slow_reader_loses_the_oldest_and_sees_a_gap() -> None:
    events = Events(size=4)
    reader = events.subscribe()
    published(events, 10)
    before = told("edge_agent_events_dropped_total")
    assert ids(reader, 4) == [7, 8, 9, 10]
    assert told("edge_agent_events_dropped_total") == before + 6


def test_an_id_from_before_a_restart_gets_all_there_is() -> None:
    events = Events()
    published(events, 3)
    assert ids(events.subscribe(after=900), 3) == [1, 2, 3]


def test_closing_the_hub_ends_readers_after_what_is_left() -> None:
    events = Events()
    reader = events.subscribe()
    published(events, 2)
    events.close()
    assert [event.id for event in reader] == [1, 2]


def test_closing_a_subscription_ends_a_waiting_reader() -> None:
    events = Events()
    reader = events.subscribe()
    other = events.subscribe()
    ended = threading.Event()
    thread = threading.Thread(target=lambda: (list(reader), ended.set()))
    thread.start()
    reader.close()
    assert ended.wait(WAIT_S)
    thread.join()
    published(events, 1)
    assert next(other).id == 1


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure("INFO", stream)
    yield stream
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_record_is_one_line_of_json_with_its_extra_fields(lines: io.StringIO) -> None:
    extra = {"action": "activated", "model": "unet", "where": object}
    logging.getLogger("edge_agent.x").info("version %s\nanswers", "2", extra=extra)
    (line,) = lines.getvalue().splitlines()
    content = json.loads(line)
    assert content["message"] == "version 2\nanswers"
    assert (content["level"], content["logger"]) == ("INFO", "edge_agent.x")
    assert (content["action"], content["model"]) == ("activated", "unet")
    assert content["time"].endswith("Z")


def test_a_traceback_stays_in_its_line(lines: io.StringIO) -> None:
    try:
        int("broken")
    except ValueError:
        logging.getLogger("x").exception("it failed")
    (line,) = lines.getvalue().splitlines()
    assert "ValueError: invalid literal" in json.loads(line)["exception"]


@pytest.mark.parametrize("key", ["X-Amz-Signature", "Signature", "X-Amz-Security-Token", "X-Amz-Credential"])
def test_signatures_of_urls_are_never_logged(lines: io.StringIO, key: str) -> None:
    url = f"https://bucket/blobs/1?a=b&{key}=secret123&c=d"
    logging.getLogger("x").warning("cannot get %s", url, extra={"url": url})
    assert "secret123" not in lines.getvalue()
    assert json.loads(lines.getvalue())["url"] == "https://bucket/blobs/1?…"


def test_records_below_the_level_are_left_out(lines: io.StringIO) -> None:
    logging.getLogger("x").debug("quiet")
    assert lines.getvalue() == ""


def test_requests_are_counted_under_the_names_that_triton_users_know() -> None:
    parts = metrics.Durations(
        total_s=0.5, queue_s=0.25, decode_s=0.01, preprocess_s=0.02, compute_s=0.2, output_s=0.005
    )
    metrics.observe_request("m1", "3", parts, inferences=4)
    metrics.observe_request("m1", "3", metrics.Durations(total_s=0.5))
    metrics.count_failure("m1", "3", Code.UNAVAILABLE)
    text = metrics.exposition().decode()
    assert 'nv_inference_request_success{model="m1",version="3"} 2.0' in text
    assert 'nv_inference_request_failure{model="m1",reason="UNAVAILABLE",version="3"} 1.0' in text
    assert 'nv_inference_request_duration_us{model="m1",version="3"} 1e+06' in text
    assert 'nv_inference_queue_duration_us{model="m1",version="3"} 250000.0' in text
    assert 'nv_inference_compute_input_duration_us{model="m1",version="3"} 30000.0' in text
    assert 'nv_inference_compute_infer_duration_us{model="m1",version="3"} 200000.0' in text
    assert 'nv_inference_compute_output_duration_us{model="m1",version="3"} 5000.0' in text
    assert 'nv_inference_count{model="m1",version="3"} 5.0' in text
    assert 'edge_agent_request_phase_seconds_count{model="m1",phase="total",version="3"} 2.0' in text


def test_figures_that_change_by_themselves_are_asked_for_when_somebody_reads() -> None:
    memory = [100]

    def refresh() -> None:
        memory[0] += 1
        metrics.show_workers([("grows", "1", memory[0])])

    def fail() -> None:
        raise StorageError(Code.STORAGE_FAILED, "the disk is gone")

    for each in (fail, refresh):
        metrics.refresh_with(each)
    try:
        lines = [metrics.exposition().decode() for _ in range(2)]
    finally:
        for each in (fail, refresh):
            metrics.stop_refreshing(each)
    for value, text in zip((101.0, 102.0), lines, strict=True):
        assert f'edge_agent_worker_memory_bytes{{model="grows",version="1"}} {value}' in text
    assert metrics.exposition() == metrics.exposition()


def test_models_that_are_gone_leave_the_figures() -> None:
    for name, memory_bytes in (("gone", 5), ("here", 7)):
        metrics.show_models([(name, "1", "READY")])
        metrics.show_workers([(name, "1", memory_bytes)])
    text = metrics.exposition().decode()
    assert "gone" not in text
    assert 'edge_agent_worker_memory_bytes{model="here",version="1"} 7.0' in text


def test_figures_of_versions_that_nobody_asks_any_more_are_forgotten_and_take_no_memory() -> None:
    durations = metrics.Durations(0.01, queue_s=0.001, decode_s=0.001, preprocess_s=0.001, compute_s=0.005)
    for number in range(metrics.LIMIT_VERSIONS * 3):
        metrics.observe_request("seal", str(number), durations)
        metrics.observe_request("cap", "7", durations)
        metrics.count_failure("seal", str(number), Code.INTERNAL)
    lines = metrics.exposition().decode().splitlines()
    last = metrics.LIMIT_VERSIONS * 3 - 1
    for name in (
        "nv_inference_request_success",
        "edge_agent_request_phase_seconds_count",
        "nv_inference_request_failure",
    ):
        kept = [line for line in lines if line.startswith(f'{name}{{model="seal"')]
        versions = {line.partition('version="')[2].partition('"')[0] for line in kept}
        assert len(versions) < metrics.LIMIT_VERSIONS
        assert str(last) in versions
    assert any('success{model="cap",version="7"} 192.0' in line for line in lines)


def test_every_metric_says_what_it_means() -> None:
    described = list(metrics.described())
    assert len(described) > 15
    assert all(metric.meaning and metric.kind for metric in described)
    assert len({metric.name for metric in described}) == len(described)


@pytest.mark.parametrize("address", ["0.0.0.0:8002", "192.168.1.5:8002", "example.com:8002", "[::]:8002", ":8002"])
def test_figures_are_not_shown_beyond_this_machine(address: str) -> None:
    with pytest.raises(ConfigError, match="loopback"):
        metrics.MetricsServer(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "localhost", "[::1]", "::1"])
def test_loopback_is_known_in_all_its_forms(host: str) -> None:
    assert is_loopback(host)


def test_a_thread_that_ends_unasked_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    ended: list[str] = []
    thread = Watched("returns", lambda thread: None, ended=ended.append)
    thread.start()
    thread.join(WAIT_S)
    assert ended == ["returns"]
    assert "a thread ended unasked" in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_fails_is_noticed_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fail(thread: Watched) -> None:
        raise RuntimeError("broken inside")

    ended: list[str] = []
    thread = Watched("fails", fail, ended=ended.append)
    thread.start()
    thread.join(WAIT_S)
    assert ended == ["fails"]
    assert "broken inside" in caplog.text


def test_a_thread_that_was_asked_to_end_ends_quietly() -> None:
    ended: list[str] = []
    thread = Watched("asked", lambda thread: thread.stopping.wait() and None, ended=ended.append)
    thread.start()
    assert thread.stop(WAIT_S)
    assert ended == []
    assert Watched("never ran", lambda thread: None, ended=ended.append).stop()


def test_a_thread_that_hangs_is_silent_and_one_that_waits_is_not() -> None:
    begun, waits, go_on = threading.Event(), threading.Event(), threading.Event()

    def hang(thread: Watched) -> None:
        begun.set()
        go_on.wait()

    hanging = Watched("hangs", hang, silent_s=1e-9)

    def wait(thread: Watched) -> None:
        waits.set()
        thread.wait(3600)

    waiting = Watched("waits", wait, silent_s=1e-9)
    for thread in (hanging, waiting):
        thread.start()
    assert begun.wait(WAIT_S)
    assert waits.wait(WAIT_S)
    while waiting.is_silent():  # until it has come from telling us to waiting
        pass
    # Threads of other tests are no business of this one.
    assert {"hangs", "waits"} & {*silent_threads()} == {"hangs"}
    hanging.stopping.set()
    go_on.set()
    assert hanging.stop(WAIT_S)
    assert waiting.stop(WAIT_S)
    assert "hangs" not in silent_threads()
