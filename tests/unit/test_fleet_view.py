"""Who runs what, who is behind and why, decided from what devices say, which may be anything."""

from typing import Any

import pytest

from cloud_tools.errors import CloudError
from cloud_tools.fleet.device import Device
from cloud_tools.fleet.lagging import Execution, behind, explain, lags, spreads
from cloud_tools.fleet.query import Term, holds, read_query
from cloud_tools.fleet.view import csv_text, grouped


def device(thing: str, version: str = "", seq: int = 0, **more: Any) -> Device:
    models = {"unet": {"version": version, "release_seq": seq}} if version else {}
    return Device(thing, reported={"models": models, **more.pop("reported", {})}, **more)


FLEET = [device("a", "3", 3), device("b", "2", 2), device("c", "2", 2), device("d"), Device("e")]


def test_a_device_is_measured_by_the_newest_that_runs_or_by_what_is_released() -> None:
    (unet,) = spreads(FLEET, {})
    assert (unet.counts, unet.newest, unet.most_common, unet.wanted) == ({"2": 2, "3": 1}, "3", "2", "3")
    assert [one.thing for one in behind(FLEET, unet)] == ["b", "c"], "who does not have the model is not behind"
    (unet,) = spreads(FLEET, {"unet": "4"})
    assert [one.thing for one in behind(FLEET, unet)] == ["a", "b", "c"]


def test_what_is_newer_is_said_by_the_releases_number_then_by_the_version() -> None:
    (unet,) = spreads([device("a", "9", 1), device("b", "2", 2)], {})
    assert unet.newest == "2"
    (unet,) = spreads([device("a", "2.10"), device("b", "2.9"), device("c", "no version")], {})
    assert unet.newest == "2.10"


@pytest.mark.parametrize(
    "absurd",
    [10**400, -(10**400), float("inf"), float("nan"), "many", [], True],
    ids=["huge", "tiny", "inf", "nan", "text", "list", "truth"],
)
def test_one_device_that_tells_absurd_numbers_takes_no_list_of_all_with_it(absurd: Any) -> None:
    told = {
        "alarms": {"count": absurd},
        "disk": {"free_bytes": absurd},
        "shift": {"ok": absurd},
        "at": absurd,
        "quarantined": absurd,
        "models": {"unet": {"version": "2", "release_seq": absurd}},
    }
    liar = Device("liar", reported=told)
    row = liar.row()
    assert [row[column] for column in ("alarms", "disk_free_gib", "ok", "told")] == [""] * 4
    (unet,) = spreads([liar, device("a", "3", 3)], {})
    assert unet.newest == "3"
    assert explain(liar, None) == "nothing is known: no job of it, no failure told"


@pytest.mark.parametrize(
    ("late", "execution", "why"),
    [
        (
            device("a", connected=False, since=0.0, reason="MQTT_KEEP_ALIVE_TIMEOUT"),
            None,
            "offline since 1970-01-01 00:00 (MQTT_KEEP_ALIVE_TIMEOUT)",
        ),
        (device("a", connected=False), None, "offline, and never seen"),
        (
            device("a", connected=True),
            Execution("j1", "FAILED", "BUILDING", "NO_SPACE", "full"),
            "job j1 FAILED NO_SPACE: full",
        ),
        (
            device("a", reported={"window": "22:00-05:00"}),
            Execution("j1", "IN_PROGRESS", "CHECKING"),
            "job j1 IN_PROGRESS CHECKING, installs start in 22:00-05:00 only",
        ),
        (device("a"), Execution("j1", "QUEUED"), "job j1 waits for it"),
        (
            device("a", reported={"deployment": {"state": "FAILED", "code": "SHADOW_REGRESSION"}, "quarantined": 2}),
            None,
            "its last deployment FAILED SHADOW_REGRESSION; 2 quarantined releases",
        ),
        (device("a"), None, "nothing is known: no job of it, no failure told"),
    ],
)
def test_why_a_device_is_behind_is_said_in_words(late: Device, execution: Execution | None, why: str) -> None:
    assert explain(late, execution) == why


def test_lags_name_device_versions_and_reason() -> None:
    (unet,) = spreads(FLEET, {})
    found = lags(behind(FLEET, unet), unet, {"b": Execution("j1", "QUEUED")})
    assert [(lag.thing, lag.version, lag.wanted, lag.why) for lag in found] == [
        ("b", "2", "3", "job j1 waits for it"),
        ("c", "2", "3", "nothing is known: no job of it, no failure told"),
    ]


@pytest.mark.parametrize(
    "reported",
    [
        {
            "models": None,
            "agent": 7,
            "deployment": [],
            "alarms": "x",
            "shift": 1,
            "disk": {"free_bytes": "y"},
            "at": {},
        },
        {"models": {"m": {"version": {}}}, "agent": {"state": ["x"]}, "at": 1e300, "alarms": {"count": True}},
        {"models": {"m": 7}, "at": float("nan")},
    ],
)
def test_a_shadow_of_nonsense_is_shown_as_nothing(reported: dict[str, Any]) -> None:
    row = Device("a", reported=reported).row()
    assert all(isinstance(value, str) for value in row.values())
    assert row["state"] == "?"


def test_a_query_without_an_index_takes_terms_joined_by_and() -> None:
    assert read_query("") == read_query("  ") == []
    terms = read_query('thingName:press-* AND shadow.reported.models.unet.version:"3"  attributes.fleet:east')
    assert terms == [
        Term("thingName", "press-*"),
        Term("shadow.reported.models.unet.version", "3"),
        Term("attributes.fleet", "east"),
    ]
    good = device("Press-4", "3", fleet="east")
    assert all(holds(term, good) for term in terms)
    assert not all(holds(term, good._replace(fleet="west")) for term in terms)


@pytest.mark.parametrize(
    "query",
    [
        "press",
        "a:b",
        "attributes.hall:north",
        "NOT thingName:a",
        "thingName:a OR thingName:b",
        "thingName:a AND",
        "thingName:(a b)",
        "x>1",
    ],
)
def test_more_of_the_language_is_refused_and_not_guessed(query: str) -> None:
    with pytest.raises(CloudError, match="expected FIELD:VALUE") as caught:
        read_query(query)
    assert caught.value.code.value == "INVALID_ARGUMENT"


def test_devices_are_grouped_by_words_models_and_paths() -> None:
    assert grouped(FLEET, "model.unet") == [
        {"model.unet": "2", "devices": 2},
        {"model.unet": "-", "devices": 2},
        {"model.unet": "3", "devices": 1},
    ]
    assert grouped([device("a", connected=True)], "connected") == [{"connected": "yes", "devices": 1}]
    told = device("a", reported={"clock": {"synchronised": False}})
    assert grouped([told], "clock.synchronised") == [{"clock.synchronised": "false", "devices": 1}]
    with pytest.raises(CloudError, match="--group-by: expected fleet"):
        grouped(FLEET, "colour")


def test_a_name_is_no_formula_in_a_spreadsheet() -> None:
    assert csv_text([{"thing": "=1+1", "why": 'a "b", c'}]) == 'thing,why\n\'=1+1,"a ""b"", c"'
    assert csv_text([]) == ""
