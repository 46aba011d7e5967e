"""The extractor of unsigned packages: what a stranger's archive brings is what its manifest lists, or nothing."""

import contextlib
import gzip
import os
import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_agent.errors import AgentError, BundleError, CancelledError, Code
from edge_agent.formats.archive import LIMIT_ENTRIES, read_members
from edge_agent.store import Store, package
from tests.fakes.packages import Entry, entries_of, tar
from tests.fakes.releases import Release, make_release

RELEASE = make_release("unet", "1", files={"part/extra.txt": b"", "big.bin": random.Random(7).randbytes(50_000)})
ENTRIES = entries_of(RELEASE)
PLAIN = tar(ENTRIES)
PADDED = 1 << 20


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state")


def chunks(content: bytes, size: int = 1000) -> Iterator[bytes]:
    return (content[at : at + size] for at in range(0, len(content), size))


def unpack(store: Store, archive: bytes, release: Release = RELEASE) -> None:
    path = store.partial_path(package.name_of("archive"))
    path.write_bytes(archive)
    try:
        package.unpack(path, release.content, [a.sha256 for a in store.missing(release.manifest)], store)
    finally:
        path.unlink()


def files(store: Store) -> dict[str, int]:
    """Return every file around the store, also outside of it."""
    top = store.partial_path("0" * 64).parents[2]
    return {str(path.relative_to(top)): path.lstat().st_size for path in top.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("prefix", ["", "./"])
def test_a_bundle_in_any_usual_form_becomes_blobs_like_any_other(
    store: Store, form: int, zipped: bool, prefix: str
) -> None:
    times = {"mtime": "1700000000.25"} if form == tarfile.PAX_FORMAT else None
    directory = Entry("./", kind=tarfile.DIRTYPE) if prefix else Entry("part", kind=tarfile.DIRTYPE)
    entries = [entry._replace(name=prefix + entry.name, pax=times) for entry in ENTRIES]
    archive = tar([directory, *reversed(entries)], form=form)
    packed = gzip.compress(archive) if zipped else archive
    assert package.manifest_of(chunks(packed)) == RELEASE.content
    unpack(store, packed)
    assert store.missing(RELEASE.manifest) == ()
    store.install(RELEASE.content)
    store.verify(RELEASE.model_version, manifest_sha256=RELEASE.sha256)


@pytest.mark.parametrize("writer", ["tarfile", "tar"])
def test_what_the_usual_programs_pack_is_taken(store: Store, tmp_path: Path, writer: str) -> None:
    bundle = tmp_path / "bundle"
    for entry in ENTRIES:
        (bundle / entry.name).parent.mkdir(parents=True, exist_ok=True)
        (bundle / entry.name).write_bytes(entry.content)
    target = tmp_path / "package.tar.gz"
    if writer == "tar":
        assert os.spawnlp(os.P_WAIT, "tar", "tar", "-czf", str(target), "-C", str(bundle), ".") == 0
    else:
        with tarfile.open(target, "w:gz") as archive:
            archive.add(bundle, arcname=".")
    content = target.read_bytes()
    assert package.manifest_of(chunks(content)) == RELEASE.content
    unpack(store, content)
    assert store.missing(RELEASE.manifest) == ()


def _sparse() -> bytes:
    made = bytearray(tar([*ENTRIES, Entry("sparse", b"x")], form=tarfile.GNU_FORMAT))
    at = made.index(b"sparse\0")
    made[at + 156 : at + 157] = b"S"
    return _sealed(made, at)


def _sealed(archive: bytearray, at: int) -> bytes:
    """Return the archive with the header at ``at`` given its checksum again."""
    archive[at + 148 : at + 156] = b" " * 8
    archive[at + 148 : at + 156] = b"%06o\0 " % sum(archive[at : at + 512])
    return bytes(archive)


def _resized(size: int) -> bytes:
    made = bytearray(tar(ENTRIES, form=tarfile.USTAR_FORMAT))
    at = made.index(b"big.bin\0")
    made[at + 124 : at + 136] = b"%011o\0" % size
    return _sealed(made, at)


def _without(name: str) -> list[Entry]:
    return [entry for entry in ENTRIES if entry.name != name]


SECOND = make_release("unet", "1", release_seq=9)
HOSTILE = {
    "leads up": (tar([*ENTRIES, Entry("../evil", b"x")]), "only files that manifest.json lists"),
    "leads up inside": (tar([*ENTRIES, Entry("part/../../evil", b"x")]), "only files that manifest.json lists"),
    "absolute": (tar([*ENTRIES, Entry("/etc/evil", b"x")]), "only files that manifest.json lists"),
    "not listed": (tar([*ENTRIES, Entry("readme", b"x")]), "only files that manifest.json lists"),
    "dotted twice": (tar([*ENTRIES, Entry("././big.bin", b"x")]), "only files that manifest.json lists"),
    "lacking": (tar(_without("big.bin")), "big.bin is not there"),
    "twice": (tar([*ENTRIES, ENTRIES[-1]]), "came again"),
    "twice under another name": (tar([*ENTRIES, ENTRIES[-1]._replace(name="./" + ENTRIES[-1].name)]), "came again"),
    "second manifest": (tar([*ENTRIES, Entry("./manifest.json", SECOND.content)]), "came again"),
    "link in place": (tar([*_without("big.bin"), Entry("big.bin", kind=tarfile.SYMTYPE, link="/etc")]), "came a link"),
    "hard link": (tar([*ENTRIES, Entry("h", kind=tarfile.LNKTYPE, link="model.onnx")]), "came a hard link"),
    "character device": (tar([*ENTRIES, Entry("null", kind=tarfile.CHRTYPE)]), "came a device"),
    "block device": (tar([*ENTRIES, Entry("sda", kind=tarfile.BLKTYPE)]), "came a device"),
    "pipe": (tar([*ENTRIES, Entry("pipe", kind=tarfile.FIFOTYPE)]), "came a pipe"),
    "contiguous": (tar([*ENTRIES, Entry("c", kind=tarfile.CONTTYPE)]), "came a contiguous file"),
    "sparse": (_sparse(), "came a sparse file"),
    "long name": (tar([*ENTRIES, Entry("n" * 150)], form=tarfile.GNU_FORMAT), "came a long name"),
    "pax name": (tar([*ENTRIES, Entry("n" * 150)]), "times and owners only"),
    "pax path": (tar([*ENTRIES, Entry("a", pax={"path": "model.onnx"})]), "times and owners only"),
    "pax size": (tar([*ENTRIES, Entry("a", pax={"size": "4"})]), "times and owners only"),
    "pax sparse": (tar([*ENTRIES, Entry("a", pax={"GNU.sparse.major": "1"})]), "times and owners only"),
    "pax charset": (tar([*ENTRIES, Entry("a", pax={"hdrcharset": "BINARY"})]), "times and owners only"),
    "pax huge": (tar([*ENTRIES, Entry("a", pax={"comment": "x" * 70_000})]), "a pax record of at most"),
    "larger than said": (tar([*_without("big.bin"), Entry("big.bin", b"x" * 50_001)]), "expected 50000 bytes"),
    "smaller than said": (tar([*_without("big.bin"), Entry("big.bin", b"x" * 49_999)]), "expected 50000 bytes"),
    "header says more": (_resized(8 << 20), "expected 50000 bytes"),
    "too many": (tar([*ENTRIES, *[Entry("d", kind=tarfile.DIRTYPE)] * LIMIT_ENTRIES]), "entries, came more"),
    "full directory": (
        _sealed(bytearray(tar([Entry("part", b"x")])[:156] + b"5" + tar([Entry("part", b"x")])[157:]), 0),
        "a directory, came one with content",
    ),
    "other bytes": (tar([*_without("big.bin"), Entry("big.bin", b"x" * 50_000)]), "SHA-256"),
    "behind the end": (PLAIN + tar([Entry("hidden", b"x")]), "nothing behind its end"),
    "behind the gzip": (gzip.compress(PLAIN) + gzip.compress(PLAIN), "nothing behind the end of its gzip"),
    "padding without end": (gzip.compress(PLAIN + bytes(PADDED * 3)), "came more"),
    "old form": (bytes(PLAIN).replace(b"ustar\x00", b"\0" * 6), None),
    "bomb": (gzip.compress(bytes(64 << 20)), None),
    "cut": (PLAIN[: len(PLAIN) // 2], "it ends early"),
    "cut before its end": (PLAIN[: PLAIN.rindex(b"\x01") // 512 * 512 + 512], None),
    "cut gzip": (gzip.compress(PLAIN)[:-9], "ends early"),
    "wrong checksum": (gzip.compress(PLAIN)[:-8] + bytes(8), "cannot be read"),
    "empty": (b"", "it ends early"),
    "a zip": (b"PK\x03\x04" + bytes(2000), None),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_with_its_reason_and_leaves_nothing(store: Store, what: str) -> None:
    archive, told = HOSTILE[what]
    before = files(store)
    with pytest.raises(BundleError, match=told) as refused:
        unpack(store, archive)
    assert refused.value.code in (Code.FORMAT_FORBIDDEN, Code.DIGEST_MISMATCH)
    after = files(store)
    if what == "other bytes":
        # Only whole files whose digests fit may be there, as after a download that failed later.
        after = {name: size for name, size in after.items() if "/blobs/" not in name}
    assert after == before


def test_a_bomb_is_given_up_at_the_size_that_the_manifest_allows(store: Store) -> None:
    bomb = gzip.compress(tar([*ENTRIES, Entry("big.bin2", bytes(128 << 20))]), compresslevel=1)
    read = 0

    def counted() -> Iterator[bytes]:
        nonlocal read
        for piece in chunks(bomb, 4096):
            read += len(piece)
            yield piece

    limit = package.largest(RELEASE.manifest)
    with pytest.raises(BundleError, match=f"at most {limit} bytes in it"):
        list(read_members(counted(), limit_bytes=limit))
    assert read < len(bomb) / 4


def test_a_file_that_the_store_holds_already_is_not_written_again(store: Store) -> None:
    unpack(store, PLAIN)
    before = files(store)
    with pytest.raises(BundleError, match="only files"):
        unpack(store, HOSTILE["not listed"][0])
    unpack(store, PLAIN)
    assert files(store) == before


def test_a_cancelled_unpacking_leaves_no_part_of_a_file(store: Store) -> None:
    path = store.partial_path(package.name_of("archive"))
    path.write_bytes(PLAIN)
    before = files(store)
    with pytest.raises(CancelledError):
        package.unpack(path, RELEASE.content, [a.sha256 for a in RELEASE.manifest.artefacts], store, lambda: True)
    assert files(store) == before


@pytest.mark.parametrize(
    ("entries", "told"),
    [
        (_without("manifest.json"), "expected a manifest.json at its top"),
        ([Entry("bundle/manifest.json", RELEASE.content)], "expected a manifest.json at its top"),
        ([Entry("manifest.json", b'{"model_graph": {}}')], "of this agent's form"),
        ([Entry("manifest.json", b"\xff")], "of this agent's form"),
        ([Entry("manifest.json", bytes((1 << 20) + 1))], "at most"),
    ],
    ids=["none", "deeper", "of another system", "no text", "huge"],
)
def test_a_package_without_a_manifest_of_ours_is_refused_with_the_way_out(entries: list[Entry], told: str) -> None:
    with pytest.raises(BundleError, match=told) as refused:
        package.manifest_of(chunks(tar(entries)))
    assert refused.value.code is Code.MANIFEST_INVALID
    assert "at most" in told or "edge-cloud package" in refused.value.message


NAMES = st.sampled_from(
    [*(entry.name for entry in ENTRIES), "../evil", "/etc/evil", "./model.onnx", "x" * 120, "", ".", "a/../b", "é"]
)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, b"Z"]
)
MADE_UP = st.builds(Entry, NAMES, st.binary(max_size=700), KINDS, NAMES)
FORMS = st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
SLOW = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _harmless(store: Store, archive: bytes) -> None:
    """Check that an archive is taken as a whole, or refused by an error of ours, and nothing else is there then."""
    top = store.partial_path("0" * 64).parents[2]
    blobs = {f"state/blobs/{artefact.sha256}" for artefact in RELEASE.manifest.artefacts}
    before = set(files(store)) - blobs
    try:
        unpack(store, archive)
    except AgentError:
        pass
    else:
        assert store.missing(RELEASE.manifest) == ()
    assert set(files(store)) - blobs == before
    for name in blobs & set(files(store)):
        assert package.sha256_of((top / name).read_bytes()) == Path(name).name
        (top / name).unlink()
    with contextlib.suppress(AgentError):
        assert package.manifest_of(chunks(archive))


@SLOW
@given(data=st.data(), zipped=st.booleans())
def test_no_mutation_of_a_package_does_harm(store: Store, data: st.DataObject, zipped: bool) -> None:
    made = bytearray(gzip.compress(PLAIN, compresslevel=1, mtime=0) if zipped else PLAIN)
    headers = [at for at in range(0, len(PLAIN), 512) if PLAIN[at + 257 : at + 262] == b"ustar"]
    for _ in range(data.draw(st.integers(1, 6))):
        header = data.draw(st.sampled_from(headers))
        spot = st.one_of(st.integers(0, len(made) - 1), st.integers(header, min(header + 511, len(made) - 1)))
        at = data.draw(spot)
        made[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    if not zipped and data.draw(st.booleans()) and len(made) > headers[-1] + 512:
        at = data.draw(st.sampled_from(headers))
        _sealed(made, at)
    _harmless(store, bytes(made[: data.draw(st.one_of(st.just(len(made)), st.integers(0, len(made))))]))


@SLOW
@given(extra=st.lists(MADE_UP, max_size=4), form=FORMS, order=st.randoms(use_true_random=False), zipped=st.booleans())
def test_no_list_of_entries_does_harm(
    store: Store, extra: list[Entry], form: int, order: random.Random, zipped: bool
) -> None:
    entries = [*ENTRIES, *extra]
    order.shuffle(entries)
    try:
        made = tar(entries[: order.randint(1, len(entries))], form=form)
    except (ValueError, tarfile.TarError):
        return  # the writer does not write it
    _harmless(store, gzip.compress(made, compresslevel=1) if zipped else made)
