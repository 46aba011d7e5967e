import base64
import json
from typing import Any

import numpy as np

from edge_agent.capture.layout import EMBED_LIMIT_BYTES, Destination, objects
from edge_agent.capture.records import from_frame, from_tensors
from edge_agent.formats import EncodedPicture, InspectedFrame, Picture, RawPicture, Verdict
from edge_agent.vision import decode
from tests.fakes.captures import frame, result, tensors

DESTINATION = Destination("s3://bucket/captures/", "line-4", "press-4")
HOUR = "2026/05/31/20"
SMALL = EncodedPicture(b"\xff\xd8small")
LARGE = EncodedPicture(b"\xff\xd8" + bytes(EMBED_LIMIT_BYTES))


def rendered(inspected: InspectedFrame, picture: Picture) -> dict[str, bytes]:
    return dict(objects(*from_frame(inspected, picture), DESTINATION))


def record(files: dict[str, bytes], model: str = "unet", name: str = "f1") -> dict[str, Any]:
    document: dict[str, Any] = json.loads(files[f"line-4/{model}/{HOUR}/{name}.jsonl"])
    return document


def test_a_frame_becomes_one_line_of_json_as_its_readers_expect_it() -> None:
    files = rendered(frame("f1"), SMALL)
    assert list(files) == [f"line-4/unet/{HOUR}/f1.jsonl"]
    line = files[f"line-4/unet/{HOUR}/f1.jsonl"]
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    document = json.loads(line)
    (output,) = document.pop("deviceFleetAuxiliaryOutputs")
    assert document == {
        "eventVersion": "0",
        "eventMetadata": {
            "eventId": "f1",
            "deviceId": "press-4",
            "deviceFleetName": "line-4",
            "modelName": "unet",
            "modelVersion": "1",
            "inferenceTime": "2026-05-31T20:05:24",
        },
        "deviceFleetInputs": [],
        "deviceFleetOutputs": [],
        "deviceFleetAuxiliaryInputs": [
            {
                "name": "Input-1",
                "encoding": "BASE64",
                "observedContentType": "jpg",
                "mode": "Input",
                "data": base64.b64encode(SMALL.content).decode(),
            }
        ],
    }
    told = json.loads(base64.b64decode(output.pop("data")))
    assert output == {"name": "Output-1", "encoding": "BASE64", "observedContentType": "json", "mode": "Output"}
    assert (told["Confidence"], told["Inference result"], told["Inference status"]) == (0.9, "Anomaly", "success")
    assert (told["verdict"], told["score"], told["threshold"], told["source"]) == ("NG", 0.9, 0.5, "cam")


def test_a_picture_above_the_limit_lies_beside_the_record_and_is_stored_before_it() -> None:
    files = rendered(frame("f1"), LARGE)
    key = f"line-4/unet/{HOUR}/raw-data/f1-1.jpg"
    assert list(files) == [key, f"line-4/unet/{HOUR}/f1.jsonl"]
    assert files[key] == LARGE.content
    (entry,) = record(files)["deviceFleetAuxiliaryInputs"]
    assert "data" not in entry
    assert (entry["encoding"], entry["data-ref"]) == ("NONE", f"s3://bucket/captures/{key}")


def test_the_limit_itself_is_embedded() -> None:
    files = rendered(frame("f1"), EncodedPicture(bytes(EMBED_LIMIT_BYTES)))
    assert len(files) == 1


def test_two_models_share_one_picture() -> None:
    seen = frame("f1", Verdict.NG, result("unet"), result("resnet", "7", Verdict.OK))
    files = rendered(seen, LARGE)
    assert len(files) == 3
    references = {record(files, model)["deviceFleetAuxiliaryInputs"][0]["data-ref"] for model in ("unet", "resnet")}
    assert references == {f"s3://bucket/captures/line-4/unet/{HOUR}/raw-data/f1-1.jpg"}
    assert record(files, "resnet")["eventMetadata"]["modelVersion"] == "7"
    told = json.loads(base64.b64decode(record(files, "resnet")["deviceFleetAuxiliaryOutputs"][0]["data"]))
    assert told["Inference result"] == "Normal"
    assert abs(told["Confidence"] - 0.1) < 1e-9


def test_two_applications_of_one_model_stand_in_one_record_with_their_masks() -> None:
    seen = frame("f1", Verdict.NG, result(mask=b"\x89PNG1"), result(mask=b"\x89PNG2"))
    outputs = record(rendered(seen, SMALL))["deviceFleetAuxiliaryOutputs"]
    assert [entry["name"] for entry in outputs] == ["Output-1", "Output-2", "Output-3", "Output-4"]
    assert [entry["observedContentType"] for entry in outputs] == ["json", "png", "json", "png"]
    assert base64.b64decode(outputs[3]["data"]) == b"\x89PNG2"


def test_two_versions_of_one_model_are_two_lines_of_one_file() -> None:
    files = rendered(frame("f1", Verdict.NG, result(version="1"), result(version="2")), SMALL)
    (content,) = files.values()
    lines = [json.loads(line) for line in content.splitlines()]
    assert [line["eventMetadata"]["modelVersion"] for line in lines] == ["1", "2"]


def test_a_model_that_gave_no_answer_has_no_record() -> None:
    files = rendered(frame("f1", Verdict.NG, result(), result("away", "", Verdict.NO_RESULT)), SMALL)
    assert list(files) == [f"line-4/unet/{HOUR}/f1.jsonl"]


def test_raw_pixels_become_a_png_of_the_same_pixels() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    files = rendered(frame("f1"), RawPicture(pixels.tobytes(), 60, 40))
    content = files[f"line-4/unet/{HOUR}/raw-data/f1-1.png"]
    assert np.array_equal(decode(content), pixels)


def test_names_cannot_leave_their_folder() -> None:
    keys = rendered(frame("../../x", Verdict.NG, result("../up/model")), LARGE)
    assert all(".." not in key.split("/") for key in keys)
    assert all(key.startswith("line-4/..%2Fup%2Fmodel/2026/") for key in keys)


def test_tensors_keep_their_types_shapes_and_bytes() -> None:
    capture = tensors("c1", size=2)
    (content,) = dict(objects(*from_tensors(capture), DESTINATION)).values()
    document = json.loads(content)
    (given,), (answered,) = document["deviceFleetInputs"], document["deviceFleetOutputs"]
    assert given == {
        "name": "input",
        "encoding": "BASE64",
        "observedContentType": "Tensor[float32; 1, 2]",
        "mode": "Input",
        "data": base64.b64encode(capture.inputs[0].content).decode(),
    }
    assert (answered["name"], answered["mode"]) == ("output", "Output")
    notes = [*document["deviceFleetAuxiliaryInputs"], *document["deviceFleetAuxiliaryOutputs"]]
    assert [entry["observedContentType"] for entry in notes] == ["json", "bin", "csv", "bin"]
    assert [base64.b64decode(entry["data"]) for entry in notes] == [b'{"a":1}', b"hello", b"1,2", b"\x00"]


def test_auxiliary_pictures_are_called_what_they_are() -> None:
    capture = tensors("c1")
    given = {
        "jpg": ("NONE", b"\xff\xd8\xff\xe0rest"),
        "png": ("BASE64", base64.b64encode(b"\x89PNG\r\n\x1a\nrest")),
        "csv": ("CSV", b"\xff\xd8\xff\xe0rest"),
        "bin": ("NONE", b""),
    }
    notes = tuple(capture.auxiliary_inputs[0]._replace(encoding=e, content=c) for e, c in given.values())
    (content,) = dict(objects(*from_tensors(capture._replace(auxiliary_inputs=notes)), DESTINATION)).values()
    entries = json.loads(content)["deviceFleetAuxiliaryInputs"]
    assert [entry["observedContentType"] for entry in entries] == list(given)


def test_base64_that_is_none_is_kept_as_it_came() -> None:
    capture = tensors("c1")
    broken = capture.auxiliary_inputs[1]._replace(content=b"not base64!")
    document, contents = from_tensors(capture._replace(auxiliary_inputs=(broken,)))
    assert b"not base64!" in contents
    assert document.size_bytes == sum(map(len, contents))
