"""What each version says of each picture, worked out in this process, and who deviates from it."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from edge_agent.formats import EncodedPicture, Manifest, parse
from edge_agent.inference.engines.source import read_model
from edge_agent.inference.execution import load
from scripts.demo_line.line_client import Answer, Picture, Said

TOLERANCE = 1e-5


class ExpectedAnswers:
    """In-process answers by picture, model and version.

    Args:
        pictures: what is asked of every version.
    """

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._pictures = pictures
        self._said: dict[tuple[str, str, str], Said] = {}

    def add(self, bundle: Path) -> None:
        """Work out what the version in ``bundle`` says of every picture."""
        manifest = parse(Manifest, (bundle / "manifest.json").read_bytes(), what="manifest")
        execution = load(manifest, read_model(bundle, manifest), threads=1)
        for picture in self._pictures:
            outcome = execution.inspect(EncodedPicture(picture.content), with_mask=False).outcome
            said = Said(manifest.model, manifest.version, outcome.verdict.value, outcome.label, outcome.score)
            self._said[picture.name, manifest.model, manifest.version] = said

    def deviating(self, answers: Iterable[Answer]) -> list[str]:
        """Return a line for each answer that is not what the versions that it names say."""
        return [f"{answer.picture}: {answer.said}" for answer in answers if not self._agrees(answer)]

    def _agrees(self, answer: Answer) -> bool:
        return bool(answer.said) and all(self._is_right(answer.picture, said) for said in answer.said)

    def _is_right(self, picture: str, said: Said) -> bool:
        expected = self._said.get((picture, said.model, said.version))
        if expected is None or abs(expected.score - said.score) > TOLERANCE:
            return False
        return expected._replace(score=0.0) == said._replace(score=0.0)
