"""The settings of inspection: what a person writes, what comes of it, and what wrong ones are told."""

from pathlib import Path

import pytest

from edge_agent.config import read_settings
from edge_agent.errors import Code, ConfigError
from edge_agent.inspection import rule_of


def settings(tmp_path: Path, *lines: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text("\n".join(["[inspection]", *lines]))
    return file


def words(tmp_path: Path, *lines: str) -> str:
    return rule_of(read_settings(settings(tmp_path, *lines)).inspection).words()


def test_a_rule_is_told_as_a_person_reads_it(tmp_path: Path) -> None:
    assert words(tmp_path) == "NG if any application says NG"
    assert words(tmp_path, 'rule = "all_ng"') == "NG if all applications say NG"
    weighted = words(tmp_path, 'rule = "weighted"', "ng_share = 0.6", "weights = { unet = 2, other = 0.5 }")
    assert weighted == "NG if applications with 60% of the weight say NG (unet 2, other 0.5, others 1)"
    steady = words(tmp_path, 'ng_frames = "3/5"', "hysteresis = { unet = 0.1 }")
    assert steady == (
        "NG if any application says NG; stays NG until the score falls below the threshold: unet by 0.1; "
        "only if 3 of the last 5 frames of a source are"
    )


def test_shifts_are_a_table_of_names_or_a_list_of_times(tmp_path: Path) -> None:
    named = read_settings(settings(tmp_path, 'shifts = { early = "06:00", late = "14:00" }')).inspection.shifts
    assert named == {"early": "06:00", "late": "14:00"}
    listed = read_settings(settings(tmp_path, 'shifts = ["06:00", "14:00"]')).inspection.shifts
    assert listed == {"06:00": "06:00", "14:00": "14:00"}
    assert read_settings(settings(tmp_path)).inspection.shifts == {}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('rule = "most"', "'any_ng', 'all_ng' or 'weighted'"),
        ('ng_frames = "4/3"', "expected N/M with N up to M"),
        ('ng_frames = "0/3"', "ng_frames"),
        ("ng_share = 0", "greater than 0"),
        ("weights = { unet = 0 }", r"weights\.unet: input should be greater than 0"),
        ("hysteresis = { unet = 2 }", r"hysteresis\.unet: input should be less than or equal to 1"),
        ('shifts = ["6:00"]', "expected begins as HH:MM, 00:00 to 23:59, '6:00' has '6:00'"),
        ('shifts = ["06:00", "06:00"]', "each once"),
        ("shifts = [6, 14]", 'expected begins as \\["06:00", "14:00"\\]'),
        ('shifts = { early = "24:00" }', "'early' has '24:00'"),
        ('shifts = { early = "06:00", late = "06:00" }', "each with a begin of its own"),
        ("golden_required = true", "expected golden_parts to name a directory, came none"),
        ("keep_days = 0", "greater than or equal to 1"),
        ('golden_part = "x"', "golden_part is nearest to inspection.golden_parts"),
    ],
)
def test_a_wrong_setting_is_told_with_what_was_expected(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_settings(settings(tmp_path, line))


@pytest.mark.parametrize(
    "station",
    [
        'source = "rtsp://x/1"\nmode = "trigger"\nmodbus.listen = "127.0.0.1:0"',
        'source = "genicam:x"\ntrigger = "Line1"',
    ],
)
@pytest.mark.parametrize("ng_frames", ["2/3", "1/3"])
def test_n_of_m_is_refused_where_each_picture_is_a_part(tmp_path: Path, station: str, ng_frames: str) -> None:
    file = settings(
        tmp_path, f'ng_frames = "{ng_frames}"', "[station.web]", 'source = "rtsp://x/2"', "[station.left]", station
    )
    told = f"inspection.ng_frames: expected 1/1 with station.left, .* came {ng_frames}"
    with pytest.raises(ConfigError, match=told) as caught:
        read_settings(file)
    assert caught.value.code is Code.CONFIG_INVALID


def test_n_of_m_is_for_stations_whose_pictures_follow_each_other(tmp_path: Path) -> None:
    station = ["[station.web]", 'source = "genicam:x"', 'trigger = "software"']
    assert read_settings(settings(tmp_path, 'ng_frames = "2/3"', *station)).inspection.ng_frames == "2/3"
    parts = ["[station.left]", 'source = "genicam:x"', 'trigger = "Line1"']
    assert read_settings(settings(tmp_path, 'ng_frames = "1/1"', *parts)).station["left"].takes_parts
