"""How a fleet comes back: a thousand devices simulated with the policy that the MQTT library is given."""

import queue
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import Mqtt
from edge_agent.jobs import JobsClient, Outbox, mqtt
from edge_agent.jobs.happenings import Happening
from edge_agent.jobs.mqtt import MqttConnection
from edge_agent.jobs.reconnect import FRESH_S, Policy, first_wait_s, policy
from scripts.benchlib.reconnect import (
    DEVICES,
    LONGEST_S,
    OUTAGES_S,
    distance,
    peak_share,
    simulate,
    simulate_power_cut,
)

LIMIT = 0.05
SEEDS = range(5)


@pytest.mark.parametrize("outage_s", OUTAGES_S)
def test_a_thousand_agents_come_back_after_an_outage_without_a_synchronised_peak(outage_s: float) -> None:
    for seed in SEEDS:
        fleet = simulate(DEVICES, outage_s, policy(LONGEST_S), seed=seed)
        assert len(fleet.back) == DEVICES
        assert peak_share(fleet.back, DEVICES) <= LIMIT
        assert peak_share(fleet.tries, DEVICES) <= LIMIT
        assert max(fleet.back) <= outage_s + LONGEST_S


def test_the_simulation_notices_a_policy_that_brings_all_back_at_once() -> None:
    usual = simulate(DEVICES, 0.0, Policy(1.0, LONGEST_S), seed=0)
    assert peak_share(usual.back, DEVICES) == 1.0


def test_a_site_whose_power_returns_does_not_connect_all_at_once() -> None:
    for seed in SEEDS:
        assert peak_share(simulate_power_cut(DEVICES, LONGEST_S, seed=seed), DEVICES) <= LIMIT


def test_a_machine_that_was_up_for_long_connects_at_once() -> None:
    assert first_wait_s(LONGEST_S, FRESH_S, 0.99) == 0.0
    assert first_wait_s(LONGEST_S, FRESH_S - 1, 0.5) == pytest.approx(LONGEST_S / 4)


def test_two_distributions_are_as_far_apart_as_they_differ() -> None:
    assert distance([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) == 0.0
    assert distance([1.0, 2.0], [3.0, 4.0]) == 1.0
    assert distance([1.0, 2.0, 3.0, 4.0], [3.0, 3.5, 4.5, 5.0]) == 0.5


def test_the_library_is_given_the_policy_that_is_simulated(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {}
    monkeypatch.setattr(mqtt.mqtt5_client_builder, "mtls_from_path", lambda *_paths, **options: given.update(options))
    for name in ("certificate", "key", "ca"):
        (tmp_path / name).touch()
    settings = Mqtt(
        endpoint="nowhere", certificate=tmp_path / "certificate", private_key=tmp_path / "key", ca=tmp_path / "ca"
    )
    MqttConnection(settings, "press-4", hand_over=lambda _happening: None)
    waits = policy(settings.reconnect_max_s)
    assert given["retry_jitter_mode"] == mqtt.mqtt5.ExponentialBackoffJitterMode.FULL
    bounds = given["min_reconnect_delay_ms"], given["max_reconnect_delay_ms"]
    assert bounds == (waits.least_s * 1000, waits.most_s * 1000) == (60_000, 120_000)


class Silent:
    """A link that only tells whether it was started and stopped."""

    def __init__(self) -> None:
        self.started: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.stopped = False

    def made(self, _hand_over: Callable[[Happening], None]) -> "Silent":
        return self

    def start(self) -> None:
        self.started.put("started")

    def stop(self, timeout_s: float) -> bool:
        self.stopped = timeout_s > 0
        return True

    def subscribe(self, filters: tuple[str, ...]) -> None:
        raise AssertionError(f"nothing is connected, {filters} are asked for")

    def publish(self, topic: str, payload: bytes) -> None:
        raise AssertionError(f"nothing is connected, {topic} is told {len(payload)} bytes")


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    return Outbox(tmp_path / "outbox.db")


def client(outbox: Outbox, link: Silent, *, longest_s: float, uptime_s: float) -> JobsClient:
    settings = Mqtt(reconnect_max_s=longest_s)
    return JobsClient(
        settings, "press-4", outbox, events=lambda _event: None, connect=link.made, uptime=lambda: uptime_s
    )


@pytest.mark.parametrize(("longest_s", "uptime_s"), [(3600.0, FRESH_S * 2), (1.0, 1.0)])
def test_the_first_connection_is_made_after_its_wait(outbox: Outbox, longest_s: float, uptime_s: float) -> None:
    link = Silent()
    jobs = client(outbox, link, longest_s=longest_s, uptime_s=uptime_s)
    jobs.start()
    assert link.started.get(timeout=60)
    jobs.stop()
    assert link.stopped


def test_an_agent_stopped_before_its_first_connection_makes_none(outbox: Outbox) -> None:
    link = Silent()
    jobs = client(outbox, link, longest_s=3600.0, uptime_s=1.0)
    jobs.start()
    jobs.stop()
    assert not link.stopped
    assert link.started.empty()
