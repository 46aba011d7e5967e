import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_agent.errors import Code, StorageError
from edge_agent.storage.database import Database, columns, set_aside
from edge_agent.storage.lock import StateLock

SCHEMA = ("CREATE TABLE seen (job TEXT PRIMARY KEY, times INTEGER NOT NULL)",)


def test_a_second_agent_on_the_same_directory_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with StateLock(tmp_path / "state" / "lock"):
        with (
            pytest.raises(StorageError, match=f"process {os.getpid()} holds it") as told,
            StateLock(tmp_path / "state" / "lock"),
        ):
            raise AssertionError("two agents hold the lock")
        assert told.value.code is Code.STORE_LOCKED
    with StateLock(tmp_path / "state" / "lock"):
        assert (tmp_path / "state" / "lock").read_text() == f"{os.getpid()}\n"


def test_the_lock_is_free_after_its_process_was_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, pathlib\n"
        "from edge_agent.storage.lock import StateLock\n"
        "with StateLock(pathlib.Path(sys.argv[1])):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(tmp_path / "lock")], check=False)
    assert ended.returncode == -9
    with StateLock(tmp_path / "lock"):
        assert (tmp_path / "lock").exists()


def test_rows_survive_a_reopening_and_are_read_by_name(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.db", SCHEMA)
    assert database.execute("INSERT INTO seen VALUES (?, ?)", ("a", 1)) == 1
    database.close()
    database = Database(tmp_path / "journal.db", SCHEMA)
    (row,) = database.query("SELECT * FROM seen")
    assert row["job"] == "a"
    assert columns(row) == {"job": "a", "times": 1}
    database.close()


def test_a_database_is_durable_and_journals_ahead(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.db", SCHEMA)
    assert database.query("PRAGMA synchronous")[0][0] == 2
    assert database.query("PRAGMA journal_mode")[0][0] == "wal"
    database.close()


def test_a_block_happens_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.db", SCHEMA)

    def insert_twice() -> None:
        with database.transaction(), database.transaction():
            database.execute("INSERT INTO seen VALUES ('a', 1)")
            database.execute("INSERT INTO seen VALUES ('a', 2)")

    with pytest.raises(StorageError):
        insert_twice()
    assert database.query("SELECT * FROM seen") == []
    with database.transaction() as inside:
        inside.execute("INSERT INTO seen VALUES ('a', 1)")
    assert len(database.query("SELECT * FROM seen")) == 1
    database.close()


def test_threads_do_not_see_into_each_others_transactions(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.db", SCHEMA)
    database.execute("INSERT INTO seen VALUES ('a', 0)")

    def count() -> None:
        for _ in range(25):
            with database.transaction():
                times = database.query("SELECT times FROM seen")[0]["times"]
                database.execute("UPDATE seen SET times = ?", (times + 1,))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert database.query("SELECT times FROM seen")[0]["times"] == 100
    database.close()


def test_an_older_schema_is_migrated_once_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    Database(tmp_path / "journal.db", SCHEMA).close()
    newer = (*SCHEMA, "ALTER TABLE seen ADD COLUMN code TEXT; INSERT INTO seen VALUES ('a', 1, 'x')")
    for _ in range(2):
        database = Database(tmp_path / "journal.db", newer)
        assert [row["code"] for row in database.query("SELECT * FROM seen")] == ["x"]
        database.close()
    with pytest.raises(StorageError, match="newer agent"):
        Database(tmp_path / "journal.db", SCHEMA)


def test_a_migration_that_fails_leaves_the_schema_before(tmp_path: Path) -> None:
    Database(tmp_path / "journal.db", SCHEMA).close()
    broken = (*SCHEMA, "ALTER TABLE seen ADD COLUMN code TEXT; INSERT INTO nowhere VALUES (1)")
    with pytest.raises(StorageError, match="nowhere"):
        Database(tmp_path / "journal.db", broken)
    database = Database(tmp_path / "journal.db", SCHEMA)
    assert database.query("SELECT * FROM pragma_table_info('seen') WHERE name = 'code'") == []
    database.close()


def _spoil_header(content: bytearray) -> None:
    content[:64] = b"x" * 64


def _spoil_pages(content: bytearray) -> None:
    content[4096:12288] = b"x" * 8192


@pytest.mark.parametrize("spoil", [_spoil_header, _spoil_pages])
def test_a_damaged_file_is_told_set_aside_and_replaced(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "journal.db"
    database = Database(path, SCHEMA)
    with database.transaction():
        for number in range(500):
            database.execute("INSERT INTO seen VALUES (?, 1)", (f"job {number}" * 5,))
    database.close()
    content = bytearray(path.read_bytes())
    assert callable(spoil)
    spoil(content)
    path.write_bytes(content)
    with pytest.raises(StorageError) as told:
        Database(path, SCHEMA)
    assert told.value.code is Code.STORAGE_FAILED
    assert set_aside(path) == tmp_path / "journal.db.damaged"
    database = Database(path, SCHEMA)
    assert database.query("SELECT * FROM seen") == []
    database.close()
    assert set_aside(tmp_path / "none") is None


def test_a_full_disk_is_told_as_no_space(tmp_path: Path) -> None:
    database = Database(tmp_path / "journal.db", SCHEMA)
    pages = database.query("PRAGMA page_count")[0][0]
    database.execute(f"PRAGMA max_page_count={pages + 1}")

    def fill() -> None:
        with database.transaction():
            for number in range(1000):
                database.execute("INSERT INTO seen VALUES (?, 1)", (f"{number}" * 50,))

    with pytest.raises(StorageError) as told:
        fill()
    assert told.value.code is Code.NO_SPACE
    assert database.query("SELECT * FROM seen") == []
    database.close()
    with pytest.raises(StorageError):
        database.query("SELECT 1")
