"""``edge-cloud remove`` and ``configure``: the document that a device reads, and what is wrong before it is sent."""

import json

import pytest

from cloud_tools import cli
from edge_agent.formats import JobDocument, parse


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.mark.parametrize(
    ("arguments", "operation", "models"),
    [
        (("remove", "unet", "padim"), "remove", [{"name": "unet"}, {"name": "padim"}]),
        (("configure", "unet", "--threshold", "0.62"), "configure", [{"name": "unet", "threshold": 0.62}]),
        (("configure", "unet", "--as-signed"), "configure", [{"name": "unet", "threshold": None}]),
        (
            ("configure", "unet", "--threshold", "0", "--version", "1.2"),
            "configure",
            [{"name": "unet", "version": "1.2", "threshold": 0.0}],
        ),
        (("rollback", "unet"), "rollback", [{"name": "unet"}]),
        (("deploy", "unet", "3"), "install", [{"name": "unet", "version": "3"}]),
    ],
)
def test_a_dry_run_shows_the_document_as_a_device_reads_it(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], operation: str, models: list[dict[str, object]]
) -> None:
    code, out, _ = run(capsys, *arguments, "--to", "thing/press-4", "--to", "group/line-2", "--dry-run")
    document = json.loads(out)
    assert (code, document["operation"], document["models"]) == (0, operation, models)
    assert parse(JobDocument, document, what="job").operation == operation


@pytest.mark.parametrize(
    "to", ["press-4", "thong/press-4", "thing/", "group/a b", "thing/" + "x" * 129, "thing/a/b", ""]
)
@pytest.mark.parametrize(
    "verb", [("deploy", "unet", "1"), ("rollback", "unet"), ("remove", "unet")], ids=lambda v: v[0]
)
@pytest.mark.parametrize("dry", [("--dry-run",), ()], ids=["dry", "real"])
def test_a_target_of_another_form_is_told_before_anyone_is_asked(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    to: str,
    verb: tuple[str, ...],
    dry: tuple[str, ...],
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    code, out, err = run(capsys, *verb, "--to", to, *dry)
    assert (code, out) == (2, "")
    assert "expected thing/NAME or group/NAME" in err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("configure", "unet"), "--threshold X or --as-signed"),
        (("configure", "unet", "--threshold", "0.5", "--as-signed"), "--threshold X or --as-signed"),
        (("configure", "unet", "--threshold", "1.2"), "threshold"),
        (("configure", "unet", "--threshold", "nan"), "threshold"),
        (("configure", "un et", "--threshold", "0.5"), "name"),
        (("remove", "unet", "unet"), "named once"),
    ],
)
def test_what_no_device_could_do_is_told_here(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    code, out, err = run(capsys, *arguments, "--to", "thing/press-4", "--dry-run")
    assert (code, out) == (2, "")
    assert told in err
