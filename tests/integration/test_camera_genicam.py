"""GenICam cameras through Aravis, against its fake camera on loopback."""

import pytest

from edge_agent.station.aravis import AravisCamera
from tests.fakes.cameras import PATIENCE_S, fault_of, gige_vision_camera, looking, picture_of, size_of


def test_a_genicam_camera_takes_its_settings_and_sends_the_region() -> None:
    with gige_vision_camera("SET") as plug:
        source = f"genicam:{plug.identity}"
        with looking(source, roi=[16, 32, 256, 128], exposure_us=4321.0, gain=7.0, stall_s=5.0) as camera:
            assert size_of(picture_of(camera).content) == (256, 128)
        again = AravisCamera(plug.identity)
        try:
            assert again.region() == (16, 32, 256, 128)
            assert again._call("get_exposure_time") == pytest.approx(4321.0)
            assert again._call("get_gain") == pytest.approx(7.0)
        finally:
            again.close()


def test_a_genicam_camera_sends_nothing_before_it_is_triggered_by_software() -> None:
    with gige_vision_camera("SOFT") as plug:
        with looking(f"genicam:{plug.identity}", trigger="software", roi=[0, 0, 128, 64], stall_s=5.0) as camera:
            shots = [picture_of(camera) for _ in range(3)]
            assert {size_of(shot.content) for shot in shots} == {(128, 64)}
        waiting = AravisCamera(plug.identity)
        try:
            assert waiting.set_trigger("Software") == "Software"
            waiting.start(2)
            assert waiting.grab(0.5) is None
            waiting.trigger()
            assert waiting.grab(PATIENCE_S) is not None
        finally:
            waiting.close()


def test_a_line_that_a_genicam_camera_does_not_have_is_told() -> None:
    with gige_vision_camera("NOT") as plug, looking(f"genicam:{plug.identity}", trigger="Line7") as camera:
        # It has only just been plugged in, and is not found at once.
        assert "Line7" in fault_of(camera, "set trigger")


def test_a_genicam_camera_that_is_pulled_out_returns_by_itself() -> None:
    with gige_vision_camera("PULL") as plug, looking(f"genicam:{plug.identity}", roi=[0, 0, 64, 64]) as camera:
        picture_of(camera)
        plug.pull_out()
        assert "genicam:Aravis-Fake-PULL" in fault_of(camera)
        plug.plug_in()
        assert size_of(picture_of(camera).content) == (64, 64)
