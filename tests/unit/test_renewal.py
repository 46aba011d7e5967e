"""What device and cloud say of a certificate that is renewed, and what the device makes of it."""

import json

import pytest

from edge_agent.identity.material import Certificate
from edge_agent.identity.renewal import Act, Topics, Wish, next_act, read_wish, report

DAY_S = 86_400.0
CURRENT = Certificate("press-4", "a1", 0.0, 100 * DAY_S, b"key")


def act(wish: Wish, *, asking: bool = False, day: float = 0.0, before_days: float = 30.0) -> Act:
    return next_act(CURRENT, wish, asking=asking, now=day * DAY_S, before_s=before_days * DAY_S)


def test_a_certificate_far_from_its_end_goes_on() -> None:
    assert act(Wish()) is Act.NOTHING
    assert act(Wish(), day=69.9) is Act.NOTHING


def test_one_that_nears_its_end_or_has_ended_is_asked_anew_for() -> None:
    assert act(Wish(), day=70.1) is Act.ASK
    assert act(Wish(), day=400) is Act.ASK


def test_a_short_lived_one_is_replaced_in_its_last_third_and_not_by_its_like_at_once() -> None:
    assert act(Wish(), day=1, before_days=400) is Act.NOTHING
    assert act(Wish(), day=66, before_days=400) is Act.NOTHING
    assert act(Wish(), day=67, before_days=400) is Act.ASK


def test_without_a_limit_only_the_cloud_asks() -> None:
    assert act(Wish(), day=99, before_days=0) is Act.NOTHING
    assert act(Wish(renew="a1"), before_days=0) is Act.ASK


def test_a_wish_about_another_certificate_is_an_old_one() -> None:
    assert act(Wish(renew="a0")) is Act.NOTHING


def test_a_key_that_waits_is_not_asked_for_twice_and_what_comes_is_tried() -> None:
    assert act(Wish(renew="a1"), asking=True, day=90) is Act.NOTHING
    assert act(Wish(certificate="PEM"), asking=True) is Act.TRY


def test_a_certificate_that_nobody_asked_for_is_left() -> None:
    assert act(Wish(certificate="PEM")) is Act.NOTHING


@pytest.mark.parametrize(
    ("message", "wish"),
    [
        ({"state": {"desired": {"renew": "a1"}, "reported": {"id": "a1"}}}, Wish(renew="a1")),
        ({"state": {"renew": "a1", "certificate": "PEM"}}, Wish("a1", "PEM")),
        ({"state": {"reported": {"id": "a1"}}}, Wish()),
        ({"state": {"desired": {"renew": 7, "certificate": None, "other": "x"}}}, Wish()),
        ({"state": {"desired": None}}, Wish()),
        ({"state": []}, Wish()),
        ({}, Wish()),
        ([], Wish()),
    ],
)
def test_a_shadow_or_what_changed_of_it_is_read_or_wishes_nothing(message: object, wish: Wish) -> None:
    assert read_wish(json.dumps(message).encode()) == wish


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[" * 10_000, b"null"])
def test_what_is_no_message_wishes_nothing(payload: bytes) -> None:
    assert read_wish(payload) == Wish()


def test_a_report_takes_out_what_no_longer_holds() -> None:
    told = json.loads(report(CURRENT, before="a0", request="", fault=""))["state"]["reported"]
    assert told == {"id": "a1", "ends": 8_640_000, "before": "a0", "request": None, "fault": None}


def test_the_topics_are_those_of_one_named_shadow() -> None:
    shadow = "$aws/things/press-4/shadow/name/certificate"
    assert Topics.of("press-4") == (
        f"{shadow}/update",
        f"{shadow}/get",
        f"{shadow}/update/delta",
        f"{shadow}/get/accepted",
    )
