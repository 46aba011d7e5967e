"""What the page knows: the hub, the follower that fills it, the stream that tells it."""

import json
import threading
import time
from typing import Any

from edge_agent.dashboard.follow import Follower
from edge_agent.dashboard.hub import Hub
from edge_agent.dashboard.presentation import now_view
from edge_agent.dashboard.stream import tell
from edge_agent.dashboard.words import read_languages
from edge_agent.formats import Counts, Status, Verdict
from edge_agent.telemetry.threads import Watched
from tests.fakes.page_agent import PageAgent, a_frame, a_model, a_report

WORDS = read_languages()["en"]


def status_of(agent: PageAgent) -> Status:
    return agent.status()


def test_a_viewer_waits_for_what_it_has_not_seen_and_skips_what_is_overtaken() -> None:
    hub = Hub(lambda: 5.0)
    revision, _ = hub.wait(-1, 0)
    hub.put(frame=a_frame("f1"))
    hub.put(frame=a_frame("f2"))
    revision, snapshot = hub.wait(revision, 0)
    assert snapshot.frame is not None
    assert snapshot.frame.id == "f2"
    assert hub.wait(revision, 0) == (revision, snapshot)


def test_a_defective_part_that_a_good_one_overtook_is_told_all_the_same() -> None:
    hub = Hub(lambda: 5.0)
    hub.put(frame=a_frame("f1", Verdict.NG, source="left", at=97.0))
    hub.put(frame=a_frame("f2", Verdict.OK, source="right", at=97.5))
    view = now_view(hub.snapshot, WORDS, 100.0)
    assert (view["verdict"], view["rejected"]) == ("OK", {"id": "f1", "age_s": 3.0})
    assert now_view(hub.snapshot, WORDS, 100.0, "left")["rejected"] == view["rejected"]
    assert now_view(hub.snapshot, WORDS, 100.0, "right")["rejected"] is None


def test_the_same_again_wakes_nobody() -> None:
    hub = Hub(lambda: 5.0)
    hub.put(counts=Counts(ok=1))
    revision, _ = hub.wait(-1, 0)
    hub.put(counts=Counts(ok=1))
    assert hub.wait(revision, 0)[0] == revision


def test_an_answer_to_an_older_question_does_not_undo_a_newer_event() -> None:
    agent = PageAgent()
    agent.models = {"unet": a_model("unet", "1")}
    hub = Hub(lambda: 5.0)
    mark = hub.mark()
    asked_before = status_of(agent)
    hub.put(models=(a_model("unet", "2"),))
    hub.put_status(asked_before, mark)
    assert [model.active for model in hub.snapshot.models] == ["2"]
    hub.put_status(asked_before, hub.mark())
    assert [model.active for model in hub.snapshot.models] == ["1"]


def test_an_agent_that_is_away_keeps_its_last_frame_and_the_time_it_left() -> None:
    clock = iter([1.0, 7.0, 9.0])
    hub = Hub(lambda: next(clock))
    hub.put(away="", away_since=0.0, frame=a_frame("f1"))
    hub.put_away("no answer")
    hub.put_away("still no answer")
    assert hub.snapshot.frame is not None
    assert (hub.snapshot.away, hub.snapshot.away_since) == ("still no answer", 7.0)


def test_a_restarted_agent_without_a_frame_does_not_empty_the_page() -> None:
    hub = Hub(lambda: 5.0)
    hub.put(frame=a_frame("f1"))
    hub.put_status(status_of(PageAgent()), hub.mark())
    assert hub.snapshot.frame is not None
    assert hub.snapshot.away == ""


def follow(agent: PageAgent, hub: Hub) -> tuple[Follower, Watched]:
    follower = Follower(agent, hub)
    thread = Watched("test-follow", follower.follow)
    thread.start()
    return follower, thread


def wait_until(hub: Hub, condition: Any) -> None:
    end = time.monotonic() + 30
    revision = -1
    while not condition(hub.snapshot):
        assert time.monotonic() < end, hub.snapshot
        revision, _ = hub.wait(revision, 1)


def test_a_follower_that_is_stopped_while_its_stream_opens_ends() -> None:
    agent, hub = PageAgent(), Hub(time.time)
    follower = Follower(agent, hub)
    thread = Watched("test-follow", follower.follow)
    events = agent.events

    def stopped_meanwhile() -> Any:
        stream = events()
        thread.stopping.set()
        follower.stop()
        return stream

    agent.events = stopped_meanwhile  # type: ignore[method-assign]
    thread.start()
    assert thread.stop(30)


def test_the_follower_comes_back_when_the_agent_does_and_reads_what_it_missed() -> None:
    agent, hub = PageAgent(), Hub(time.time)
    agent.models = {"unet": a_model("unet", "1")}
    follower, thread = follow(agent, hub)
    try:
        wait_until(hub, lambda now: now.models and not now.away)
        agent.tell(a_report(state="DOWNLOADING"))
        wait_until(hub, lambda now: now.deployment is not None)
        agent.go_away()
        wait_until(hub, lambda now: now.away)
        agent.tell(a_report(state="COMMITTED", ended=9.0))
        agent.models["unet"] = a_model("unet", "2")
        agent.come_back()
        wait_until(hub, lambda now: not now.away and now.deployment.ended == 9.0 and now.history)
        assert [model.active for model in hub.snapshot.models] == ["2"]
    finally:
        thread.stopping.set()
        follower.stop()
        assert thread.stop()


def test_an_ended_deployment_is_in_the_history_at_once() -> None:
    agent, hub = PageAgent(), Hub(time.time)
    follower, thread = follow(agent, hub)
    try:
        wait_until(hub, lambda now: not now.away)
        agent.tell(a_report(state="FAILED", code="LOAD_FAILED", ended=9.0))
        wait_until(hub, lambda now: [report.code for report in now.history] == ["LOAD_FAILED"])
    finally:
        thread.stopping.set()
        follower.stop()
        assert thread.stop()


def parsed(message: str) -> tuple[str, dict[str, Any]]:
    event, data, *_ = message.split("\n")
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def test_a_stream_tells_everything_first_then_only_what_changed_then_beats() -> None:
    hub = Hub(lambda: 5.0)
    hub.put(frame=a_frame("f1", Verdict.NG), away="", away_since=0.0)
    messages = tell(hub, WORDS, lambda: 5.0, lambda _: None)
    first = [parsed(next(messages)) for _ in range(2)]
    assert [name for name, _ in first] == ["now", "models"]
    assert first[0][1]["frame"]["id"] == "f1"
    threading.Timer(0.05, lambda: hub.put(frame=a_frame("f2", Verdict.OK))).start()
    told = [parsed(next(messages))]
    while told[-1][0] == "beat":
        told.append(parsed(next(messages)))
    assert (told[-1][0], told[-1][1]["word"]) == ("now", "OK")
    assert parsed(next(messages)) == ("beat", {})


def test_a_stream_ends_when_the_page_is_closed() -> None:
    hub = Hub(lambda: 5.0)
    messages = tell(hub, WORDS, lambda: 5.0, lambda _: None)
    next(messages)
    hub.close()
    assert len(list(messages)) <= 2
