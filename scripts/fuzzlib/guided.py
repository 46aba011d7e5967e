"""One target under atheris: ``python -m scripts.fuzzlib.guided TARGET DIRECTORY SECONDS``; the door to atheris.

Our own readers are instrumented, so that an input that reaches new code is kept and changed
further. Half of the changes are libFuzzer's, half know that the input is a document.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

_INSTRUMENTED = ["edge_agent", "tuf", "securesystemslib"]
_LIMIT_BYTES = 1 << 16
_COUNTED_EVERY = 256


def main(target: str, directory: Path, seconds: int) -> None:
    """Fuzz until the time is over or something is found."""
    with atheris.instrument_imports(include=_INSTRUMENTED):
        from scripts.fuzzlib import targets  # noqa: PLC0415 - imported under instrumentation
    from scripts.fuzzlib.corpus import kept  # noqa: PLC0415
    from scripts.fuzzlib.seeds import seeds  # noqa: PLC0415

    corpus = directory / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate([*seeds(target), *kept(target)]):
        (corpus / str(number)).write_bytes(content)
    words = [
        "fuzz",
        str(corpus),
        f"-max_total_time={seconds}",
        f"-artifact_prefix={directory / 'found'}/",
        f"-max_len={_LIMIT_BYTES}",
        "-timeout=20",
        "-rss_limit_mb=2048",
    ]
    atheris.Setup(words, _counted(targets.TARGETS[target], directory / "executions"), custom_mutator=_mutator)
    atheris.Fuzz()


def _counted(target: Callable[[bytes], None], file: Path) -> Callable[[bytes], None]:
    executions = 0

    def one(content: bytes) -> None:
        nonlocal executions
        executions += 1
        # libFuzzer ends the process in its own way, so the count is written down now and then.
        if executions % _COUNTED_EVERY == 0:
            file.write_text(str(executions))
        target(content)

    return one


def _mutator(content: bytes, limit_bytes: int, seed: int) -> bytes:
    from scripts.fuzzlib.mutate import mutate  # noqa: PLC0415 - after the instrumented imports

    rng = random.Random(seed)  # noqa: S311 - nothing is kept secret by it
    if rng.random() < 0.5:  # noqa: PLR2004
        return bytes(atheris.Mutate(content, limit_bytes))
    return mutate(content, rng)[:limit_bytes]


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
