"""Whatever comes from outside, a reader says what is wrong with it in the agent's own words, or takes it."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import Code, DocumentError
from edge_agent.formats import Manifest, ModelsConfig, parse
from edge_agent.store import read_models_config, write_models_config
from scripts.fuzzlib.corpus import kept
from scripts.fuzzlib.mutate import mutate
from scripts.fuzzlib.seeds import seeds
from scripts.fuzzlib.targets import TARGETS

# A refresh writes and syncs files: it gets fewer inputs here, and its share of time in ``scripts/fuzz``.
SLOW = {"tuf_refresh"}
EXAMPLES = {target: 20 if target in SLOW else 150 for target in TARGETS}
KEPT = [(target, content) for target in TARGETS for content in kept(target)]


@pytest.mark.parametrize("target", TARGETS)
def test_sound_input_is_read(target: str) -> None:
    assert seeds(target)
    for content in seeds(target):
        TARGETS[target](content)


@pytest.mark.parametrize("target", TARGETS)
def test_no_changed_document_brings_a_reader_out_of_its_words(target: str) -> None:
    @settings(max_examples=EXAMPLES[target], deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.sampled_from(seeds(target)), st.integers(0, 2**64))
    def read(content: bytes, seed: int) -> None:
        TARGETS[target](mutate(content, random.Random(seed)))

    read()


@pytest.mark.parametrize("target", TARGETS)
def test_no_bytes_bring_a_reader_out_of_its_words(target: str) -> None:
    @settings(max_examples=EXAMPLES[target], deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.one_of(st.binary(max_size=300), st.recursive(_leaves, _deeper).map(_encoded)))
    def read(content: bytes) -> None:
        TARGETS[target](content)

    read()


_leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["unet", "1", "install"]),
)


def _deeper(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    keys = st.sampled_from(["schema", "model", "models", "version", "mappings", "policy", "execution", "signed", "x"])
    return st.one_of(st.lists(inner, max_size=4), st.dictionaries(keys, inner, max_size=4))


def _encoded(document: object) -> bytes:
    return json.dumps(document).encode()


@pytest.mark.parametrize(("target", "content"), KEPT, ids=lambda value: value if isinstance(value, str) else "")
def test_what_a_reader_once_choked_on_it_reads_or_refuses(target: str, content: bytes) -> None:
    TARGETS[target](content)


@pytest.mark.parametrize(
    "odd", ["NaN", "-Infinity", "1e999", '"\\ud800"', "[" * 100 + "]" * 100], ids=lambda odd: odd[:10]
)
@pytest.mark.parametrize("kind", [Manifest, ModelsConfig])
def test_what_could_be_read_but_never_written_again_is_refused(kind: type, odd: str) -> None:
    with pytest.raises(DocumentError) as refused:
        parse(kind, f'{{"evaluation": {{"x": {odd}}}}}', what="document")
    assert refused.value.code is Code.DOCUMENT_INVALID
    assert any(word in refused.value.message for word in ("finite", "surrogate", "levels"))


def test_every_live_file_that_is_read_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "models_config.json"
    path.write_text('{"mappings": {"Prüfplatz": "unet"}, "x": [[[{"y": "ß\\u20ac"}]]]}', encoding="utf-8")
    config = read_models_config(path)
    write_models_config(path, config)
    assert read_models_config(path) == config
