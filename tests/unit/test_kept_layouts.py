"""A newer agent's migration is taken back for an older agent, wherever either was cut off."""

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from edge_agent.cli.app import build_app
from edge_agent.errors import Code, StorageError
from edge_agent.storage import durable, steps
from edge_agent.store import Generations, check_layout, exchange, kept_layouts, layout
from edge_agent.store.layout import MIGRATIONS, NEVER_PUT_BACK, Migration
from edge_agent.trust.floors import FloorFiles, Floors
from tests.fakes.faulty_os import Killed, faults
from tests.fakes.releases import make_release

OLD, NEW = layout.LAYOUT_VERSION, layout.LAYOUT_VERSION + 1


def reshape(root: Path) -> None:
    """Migrate as a newer agent might: other files, other names, none of the old ones."""
    for path in sorted((root / "generations").glob("*.json")):
        durable.write(root / f"commit-{path.name}", path.read_bytes().upper())
        durable.remove(path)
    durable.write(root / "models_config.json", b"in another form")
    durable.write(root / "mappings.db", b"new")


TOUCHED = ("generations", "models_config.json", "mappings.db")
NEWER = {
    OLD: Migration(reshape, TOUCHED),
    NEW: Migration(lambda root: durable.remove(root / "commit-1.json"), ("commit-1.json",)),
}


def directory(root: Path) -> Path:
    """Make a state directory as an agent of today leaves it."""
    layout.prepare(root)
    (root / "generations/1.json").write_text("one")
    (root / "generations/2.json").write_text("two")
    (root / "models_config.json").write_text("mappings")
    (root / "trust").mkdir()
    (root / "trust/floors-1.json").write_text("5")
    return root


def content(root: Path) -> dict[str, bytes]:
    """Return what an older agent looks at."""
    names = ("layout_version", "generations/1.json", "generations/2.json", *TOUCHED[1:])
    return {name: (root / name).read_bytes() for name in names if (root / name).exists()}


def upgrade(root: Path, target: int = NEW) -> None:
    """Do what a newer agent does at its start."""
    exchange.finish(root)
    layout.prepare(root, migrations=NEWER, target=target)


def downgrade(root: Path) -> None:
    """Do what is done when somebody goes back to an older agent, and that agent's start."""
    layout.put_back(root)
    check_layout(root)
    layout.prepare(root)
    durable.sweep(root)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    """Sync nothing: only kills and errors are tried here, hundreds of them."""
    with faults():
        yield


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return directory(tmp_path / "state")


def test_what_a_newer_agent_migrated_is_as_it_was_when_it_is_taken_back(root: Path) -> None:
    before = content(root)
    upgrade(root)
    assert content(root) != before
    (root / "trust/floors-1.json").write_text("6")
    downgrade(root)
    assert content(root) == before
    # What is never undone: a floor that rose meanwhile stays.
    assert (root / "trust/floors-1.json").read_text() == "6"
    upgrade(root)
    downgrade(root)
    assert content(root) == before


def test_several_layouts_are_taken_back_one_after_the_other(root: Path) -> None:
    before = content(root)
    upgrade(root, NEW + 1)
    assert kept_layouts.kept(root) == [OLD, NEW]
    downgrade(root)
    assert content(root) == before
    assert kept_layouts.kept(root) == []


@pytest.mark.parametrize("touching", [OLD, NEW])
def test_a_revoked_version_stays_away_whichever_migration_kept_it_and_the_others_come_back(
    root: Path, touching: int
) -> None:
    for path in (root / "generations").iterdir():
        path.unlink()
    models = {name: make_release(name).committed() for name in ("anomaly", "unet")}
    Generations(root / "generations").commit(models)
    FloorFiles(root / "trust").save(Floors(serial=1, models={"unet": 2, "anomaly": 1}))
    plain = Migration(lambda _: None, ("places.json",))
    migrations = {OLD: plain, NEW: plain} | {touching: Migration(reshape, TOUCHED)}
    layout.prepare(root, migrations=migrations, target=NEW + 1)
    told = CliRunner().invoke(build_app(), ["--state-dir", str(root), "state", "back"])
    assert told.exit_code == 0, told.output
    assert "unet 1 was revoked since and stays away" in told.output
    assert check_layout(root) == OLD
    assert Generations(root / "generations").current().models == {"anomaly": models["anomaly"]}
    (line,) = (json.loads(line) for line in (root / "audit.log").read_text().splitlines())
    assert (line["action"], line["revoked"]) == ("layout_put_back", {"unet": "1"})


def test_what_is_kept_goes_when_a_later_agent_migrates_again(root: Path) -> None:
    upgrade(root)
    assert kept_layouts.kept(root) == [OLD]
    upgrade(root, NEW + 1)
    assert kept_layouts.kept(root) == [NEW]


def test_unasked_an_older_agent_refuses_and_says_what_would_help(root: Path) -> None:
    upgrade(root)
    with pytest.raises(StorageError, match="by `edge-agent state back`"):
        layout.prepare(root)
    kept_layouts.forget(root, before=NEW)
    with pytest.raises(StorageError, match="begin anew in another state directory"):
        layout.prepare(root)


def test_what_was_not_kept_cannot_be_put_back_and_nothing_is_changed(root: Path) -> None:
    upgrade(root, NEW + 1)
    durable.remove_tree(kept_layouts.path_of(root, OLD))
    before = sorted(path.name for path in root.rglob("*"))
    with pytest.raises(StorageError, match=f"expected what was kept of layout {OLD}") as caught:
        layout.put_back(root)
    assert caught.value.code is Code.NOT_FOUND
    assert sorted(path.name for path in root.rglob("*")) == before


def steps_of(act: Callable[[Path], None], root: Path) -> int:
    with faults() as counted:
        act(root)
    return len(counted.calls)


def cut_off_everywhere(
    act: Callable[[Path], None], place: Path, error: int | None, made: Callable[[Path], Path] = directory
) -> Iterator[tuple[Path, str]]:
    """Yield a directory for each step at which ``act`` was cut off in it, and where that was."""
    for at in range(1, steps_of(act, place / "first") + 1):
        root = made(place / str(at))
        with faults(at=at, error=error) as faulty, suppress(Killed, StorageError):
            act(root)
        assert faulty.fired
        yield root, f"cut off at call {at}, {faulty.calls[-1]}"


@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO])
def test_an_upgrade_that_is_cut_off_at_any_step_leaves_an_older_agent_a_directory_that_it_can_use(
    tmp_path: Path, error: int | None
) -> None:
    before = content(directory(tmp_path / "first"))
    for root, where in cut_off_everywhere(upgrade, tmp_path, error):
        downgrade(root)
        assert content(root) == before, where


@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO])
def test_an_upgrade_over_two_layouts_that_is_cut_off_and_begun_again_still_leads_back_to_its_begin(
    tmp_path: Path, error: int | None
) -> None:
    def upgrade_twice(root: Path) -> None:
        upgrade(root, NEW + 1)

    before = content(directory(tmp_path / "first"))
    for root, where in cut_off_everywhere(upgrade_twice, tmp_path, error):
        upgrade_twice(root)
        assert layout.read_version(root) == NEW + 1
        downgrade(root)
        assert content(root) == before, where


def test_what_a_cut_off_migration_left_half_done_is_put_back_by_who_is_asked_to(root: Path) -> None:
    before = content(root)

    def half(root: Path) -> None:
        durable.remove(root / "generations/1.json")
        raise Killed

    with suppress(Killed):
        layout.prepare(root, migrations={OLD: Migration(half, TOUCHED)}, target=NEW)
    assert content(root) != before
    told = CliRunner().invoke(build_app(), ["--state-dir", str(root), "state", "back"])
    assert told.exit_code == 0, told.output
    assert (content(root), kept_layouts.kept(root)) == (before, [])


@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO])
def test_a_way_back_that_is_cut_off_at_any_step_is_gone_to_its_end_by_the_next_try(
    tmp_path: Path, error: int | None
) -> None:
    def upgraded(root: Path) -> Path:
        upgrade(directory(root))
        return root

    before = content(directory(tmp_path / "first"))
    upgrade(tmp_path / "first")
    for root, where in cut_off_everywhere(downgrade, tmp_path, error, upgraded):
        downgrade(root)
        assert content(root) == before, where


def test_a_newer_agent_that_starts_into_a_way_back_that_was_cut_off_migrates_again(root: Path) -> None:
    before = content(root)
    upgrade(root)
    exchange.begin(root, kept_layouts.path_of(root, OLD))
    upgrade(root)
    assert layout.read_version(root) == NEW
    downgrade(root)
    assert content(root) == before


def test_where_links_are_impossible_copies_are_kept(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    before = content(root)
    monkeypatch.setattr(steps.os, "link", refuse)
    upgrade(root)
    downgrade(root)
    assert content(root) == before


def test_an_exchange_stays_inside_the_state_directory(root: Path) -> None:
    (root / "exchange").mkdir()
    exchange.write_index(root / "exchange", place={"../elsewhere": "0"})
    with pytest.raises(StorageError, match=r"expected paths inside the directory, came '../elsewhere'"):
        exchange.finish(root)


def test_no_migration_of_ours_touches_what_is_never_put_back() -> None:
    for migration in MIGRATIONS.values():
        assert not NEVER_PUT_BACK & {name.split("/")[0] for name in migration.touches}
        assert not any(name.endswith((".db", ".log")) for name in migration.touches)
