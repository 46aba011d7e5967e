"""Many devices' exchanges at once: what one of them reports stops no other."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cloud_tools.errors import CloudError
from cloud_tools.provision import identity, rotate, rotation
from cloud_tools.provision.renewal_shadow import Exchange
from cloud_tools.provision.rotate import Standing, Step
from edge_agent.formats.renewal import CertificateReport
from edge_agent.identity.lineage import Files, Lineage
from tests.fakes.certificates import Authority, of_unknown_curve

GOOD = {"id": "a" * 64, "ends": 2_000_000_000}


class Account:
    """An account in which each device has one active certificate, and reports what it likes."""

    def __init__(self, reports: dict[str, dict[str, Any]]) -> None:
        self.reports = reports

    def call(self, service: str, operation: str, **arguments: Any) -> dict[str, Any]:
        if operation == "get_thing_shadow":
            reported = {"reported": self.reports[arguments["thingName"]]}
            return {"payload": io.BytesIO(json.dumps({"state": reported}).encode())}
        assert service == "iot"
        return {"certificateDescription": {"status": "ACTIVE", "certificateId": "a" * 64}}

    def pages(self, *_: object, **__: object) -> list[str]:
        return [f"arn:aws:iot:eu-west-1:1:cert/{'a' * 64}"]


@pytest.fixture
def request_of_press_1(tmp_path: Path) -> str:
    lineage = Lineage(tmp_path / "identity", Files(*Authority(tmp_path).issue("press-1")))
    lineage.ask("press-1")
    return lineage.request


@pytest.mark.parametrize("ends", [10**18, -(10**18), 253_402_300_800])
def test_an_end_that_is_no_date_is_one_devices_trouble(ends: int) -> None:
    account: Any = Account({"press-1": GOOD | {"ends": ends}, "press-2": GOOD})
    odd, good = rotation.follow(account, rotation.Chosen(("press-1", "press-2"), None), dry_run=True)
    assert (odd.state, good.state) == ("failed", "asked")
    assert "ends: " in odd.message


def test_a_request_of_an_unknown_curve_is_one_devices_trouble(request_of_press_1: str) -> None:
    reports = {"press-1": GOOD | {"request": of_unknown_curve(request_of_press_1)}, "press-2": GOOD}
    account: Any = Account(reports)
    odd, good = rotation.follow(account, rotation.Chosen(("press-1", "press-2"), None), dry_run=True)
    assert (odd.state, good.state) == ("failed", "asked")
    assert "the device's request: expected a signing request" in odd.message


def test_what_came_before_ends_before_the_next_one_is_signed(request_of_press_1: str) -> None:
    told = CertificateReport(id="a", ends=2_000_000_000, before="b", request=request_of_press_1)
    standing = Standing("press-1", Exchange(told), {"a": "ACTIVE", "b": "ACTIVE"})
    assert rotate.next_step(standing, wanted=False) is Step.END_OLD
    standing = standing._replace(held={"a": "ACTIVE", "b": "INACTIVE"})
    assert rotate.next_step(standing, wanted=False) is Step.SIGN


def test_only_an_offer_that_nobody_uses_and_nobody_waits_for_has_lapsed(
    request_of_press_1: str, tmp_path: Path
) -> None:
    pem = Authority(tmp_path).sign(request_of_press_1)
    offered = identity.id_of(pem, "offered")
    again = Lineage(tmp_path / "again", Files(*Authority(tmp_path).issue("press-1")))
    again.ask("press-1")

    def lapsed(status: str = "ACTIVE", **reported: str) -> str:
        told = CertificateReport(**{"id": "a", "ends": 2_000_000_000} | reported)
        return Standing("press-1", Exchange(told, "", pem), {"a": "ACTIVE", offered: status}).lapsed

    assert lapsed() == lapsed(request=again.request) == offered
    assert lapsed(request=request_of_press_1) == lapsed(id=offered) == lapsed(before=offered) == ""
    assert lapsed("INACTIVE") == ""
    assert Standing("press-1", Exchange(None, "", pem), {offered: "ACTIVE"}).lapsed == ""


def test_a_certificate_of_an_unknown_curve_has_no_key_that_could_be_compared(tmp_path: Path) -> None:
    pem = of_unknown_curve(Authority(tmp_path).issue("press-1")[0].read_text())
    with pytest.raises(CloudError, match="what was offered: expected a PEM certificate"):
        identity.key_of(pem, "what was offered")
