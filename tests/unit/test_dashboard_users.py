"""The page's users: their file, their passwords, their sessions, and the brake on guessing."""

import json
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_agent.cli import main
from edge_agent.dashboard import users as module
from edge_agent.dashboard.sessions import IDLE_S, LIFE_S, MOST_OF_ONE, MOST_SESSIONS, TRIES, WINDOW_S, Brake, Sessions
from edge_agent.dashboard.users import Users, hash_password, make_user, matches, put_user, read_users, remove_user
from edge_agent.errors import ConfigError, InferenceError
from tests.fakes.cheap_users import PASSWORD, a_user, users_file


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_password_is_kept_as_a_salted_scrypt_hash_alone() -> None:
    first, second = hash_password(PASSWORD), hash_password(PASSWORD)
    assert first != second
    assert first.startswith("scrypt$32768$8$3$")
    assert PASSWORD not in first
    assert matches(PASSWORD, first)
    assert not matches(PASSWORD + " ", first)


def test_a_hash_whose_costs_are_impossible_fits_no_password() -> None:
    assert not matches(PASSWORD, "scrypt$3$8$1$c2FsdA==$c2FsdA==")


def test_users_are_written_for_their_owner_alone_changed_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    assert put_user(path, a_user("anna", "viewer")) is False
    assert put_user(path, a_user("otto", "operator")) is False
    assert put_user(path, a_user("anna", "admin")) is True
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {user.name: user.role for user in read_users(path).users} == {"anna": "admin", "otto": "operator"}
    remove_user(path, "otto")
    assert [user.name for user in read_users(path).users] == ["anna"]
    with pytest.raises(InferenceError, match="there is no otto"):
        remove_user(path, "otto")


def test_what_root_writes_is_the_page_s_own_before_it_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = users_file(tmp_path / "users.json", a_user("anna"))
    given: list[tuple[int, int, int]] = []

    def give(file: Path, user: int, group: int) -> None:
        assert [known.name for known in read_users(path).users] == ["anna"]
        given.append((file.stat().st_ino, user, group))

    monkeypatch.setattr(module.os, "geteuid", lambda: 0)
    monkeypatch.setattr(module.os, "chown", give)
    put_user(path, a_user("otto"))
    assert given == [(path.stat().st_ino, tmp_path.stat().st_uid, tmp_path.stat().st_gid)]
    assert [known.name for known in read_users(path).users] == ["anna", "otto"]
    assert sorted(file.name for file in tmp_path.iterdir()) == [".users.json.lock", "users.json"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    path = users_file(tmp_path / "users.json")
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"mode 0{mode:o}"):
        Users(path)


@pytest.mark.parametrize("content", ["", "[]", '{"users": [{"name": "x"}]}', '{"users": [], "more": 1}'])
def test_a_file_of_another_form_is_refused_and_not_quoted(tmp_path: Path, content: str) -> None:
    path = tmp_path / "users.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="as edge-agent users add writes it"):
        Users(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.json"):
        Users(tmp_path / "nothing.json")


@pytest.mark.parametrize("name", ["", "a b", "<b>", "x" * 65, "a/b"])
def test_a_name_that_is_no_name_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_N", 2)
    with pytest.raises(InferenceError, match="expected a name"):
        make_user(name, "viewer", PASSWORD)


def test_the_file_is_read_again_when_it_changes_and_nobody_is_known_while_it_is_bad(tmp_path: Path) -> None:
    path = users_file(tmp_path / "users.json", a_user("anna"))
    users = Users(path)
    assert users.verify("anna", PASSWORD)
    put_user(path, a_user("otto"))
    assert users.find("otto")
    path.chmod(0o644)
    os.utime(path, (1, 1))
    assert users.find("anna") is None
    path.chmod(0o600)
    assert users.find("anna")


def test_a_name_that_is_unknown_costs_as_much_as_a_wrong_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = Users(users_file(tmp_path / "users.json", make_user("anna", "viewer", PASSWORD)))
    costs: list[tuple[int, int, int]] = []

    def counted(password: str, salt: bytes, n: int, r: int, p: int) -> bytes:
        costs.append((n, r, p))
        return b""

    monkeypatch.setattr(module, "_scrypt", counted)
    assert users.verify("anna", "wrong password") is None
    assert users.verify("nobody", "wrong password") is None
    assert costs[0] == costs[1]


def sessions_of(tmp_path: Path) -> tuple[Clock, Path, Sessions]:
    clock, path = Clock(), users_file(tmp_path / "users.json")
    return clock, path, Sessions(clock, Users(path).find)


def test_a_session_belongs_to_its_token_until_it_is_ended(tmp_path: Path) -> None:
    _, _, sessions = sessions_of(tmp_path)
    token = sessions.begin(a_user("otto"))
    other = sessions.begin(a_user("otto"))
    assert token != other
    found = sessions.user(token)
    assert found is not None
    assert (found.name, found.role) == ("otto", "operator")
    sessions.end(token)
    assert sessions.user(token) is None
    assert sessions.user(other) is not None
    assert sessions.user("") is None


def test_a_session_ends_with_its_life_or_when_nobody_does_anything(tmp_path: Path) -> None:
    clock, _, sessions = sessions_of(tmp_path)
    idle, busy = sessions.begin(a_user("otto")), sessions.begin(a_user("otto"))
    clock.now += IDLE_S["operator"] - 1
    assert sessions.user(busy, touch=True)
    clock.now += 2
    assert sessions.user(idle) is None
    assert sessions.user(busy)
    while clock.now < 1000 + LIFE_S["operator"]:
        clock.now += IDLE_S["operator"] / 2
        sessions.user(busy, touch=True)
    assert sessions.user(busy) is None


def test_a_screen_on_the_wall_stays_logged_in_as_a_viewer(tmp_path: Path) -> None:
    clock, _, sessions = sessions_of(tmp_path)
    token = sessions.begin(a_user("vera", "viewer"))
    clock.now += 20 * 24 * 3600
    assert sessions.user(token)


@pytest.mark.parametrize(
    "change",
    [
        lambda path: remove_user(path, "otto"),
        lambda path: put_user(path, a_user("otto", "admin")),
        lambda path: put_user(path, a_user("otto", password="another password")),
    ],
    ids=["removed", "another role", "another password"],
)
def test_who_is_changed_in_the_file_has_to_log_in_again(tmp_path: Path, change: Callable[[Path], object]) -> None:
    _, path, sessions = sessions_of(tmp_path)
    token = sessions.begin(a_user("otto"))
    assert sessions.user(token)
    change(path)
    assert sessions.user(token) is None


def test_one_users_sessions_are_bounded_and_push_out_nobody_elses(tmp_path: Path) -> None:
    _, _, sessions = sessions_of(tmp_path)
    wall, first = sessions.begin(a_user("vera", "viewer")), sessions.begin(a_user("otto"))
    tokens = [sessions.begin(a_user("otto")) for _ in range(MOST_SESSIONS + 1)]
    assert sessions.user(wall)
    assert sessions.user(first) is None
    assert [bool(sessions.user(token)) for token in tokens[-MOST_OF_ONE - 1 :]] == [False] + MOST_OF_ONE * [True]


def test_all_sessions_are_bounded_and_the_oldest_goes() -> None:
    everyone = {f"user{n}": a_user(f"user{n}") for n in range(MOST_SESSIONS + 1)}
    sessions = Sessions(Clock(), everyone.get)
    tokens = [sessions.begin(user) for user in everyone.values()]
    assert sessions.user(tokens[0]) is None
    assert all(sessions.user(token) for token in tokens[1:])


def test_too_many_failures_make_an_address_or_a_name_wait_and_no_other() -> None:
    clock = Clock()
    brake = Brake(clock)
    for _ in range(TRIES):
        assert brake.admit("address 1", "name anna") == 0
    assert brake.admit("address 1", "name otto") == WINDOW_S
    assert brake.admit("address 2", "name anna") == WINDOW_S
    assert brake.admit("address 2", "name otto") == 0
    clock.now += WINDOW_S
    assert brake.admit("address 1", "name anna") == 0


def test_guesses_that_come_all_at_once_are_no_more_than_those_that_come_in_a_row() -> None:
    brake, together, outcomes = Brake(Clock()), threading.Barrier(4 * TRIES), list[float]()

    def guess() -> None:
        together.wait(60)
        outcomes.append(brake.admit("address 1"))

    threads = [threading.Thread(target=guess) for _ in range(4 * TRIES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(outcomes) == TRIES * [0.0] + 3 * TRIES * [WINDOW_S]


def test_who_waits_does_not_wait_longer_for_having_asked() -> None:
    clock = Clock()
    brake = Brake(clock)
    for _ in range(TRIES):
        brake.admit("name anna")
    clock.now += WINDOW_S - 1
    assert brake.admit("name anna") == 1
    clock.now += 1
    assert brake.admit("name anna") == 0


def test_who_knows_the_password_may_log_in_as_often_as_they_like() -> None:
    brake = Brake(Clock())
    for _ in range(2 * TRIES):
        assert brake.admit("name anna") == 0
        brake.forgive("name anna")
    brake.forgive("name nobody")
    assert brake.admit("name anna", "name nobody") == 0


def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str, password: str = PASSWORD) -> int:
    monkeypatch.setenv("EDGE_AGENT__DASHBOARD__USERS", str(tmp_path / "users.json"))
    monkeypatch.setattr(module, "_N", 2)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    monkeypatch.setattr("sys.stdin.readline", lambda: password + "\n", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["users", *arguments])
    return int(end.value.code or 0)


def test_the_command_line_adds_lists_and_removes_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(tmp_path, monkeypatch, "add", "anna", "--role", "operator") == 0
    assert capsys.readouterr().out == "anna: operator\n"
    assert cli(tmp_path, monkeypatch, "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "anna", "role": "operator"}]
    assert Users(tmp_path / "users.json").verify("anna", PASSWORD)
    assert cli(tmp_path, monkeypatch, "remove", "anna") == 0
    assert cli(tmp_path, monkeypatch, "remove", "anna") == 3


def test_the_command_line_refuses_a_short_password_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli(tmp_path, monkeypatch, "add", "anna", password="short") == 2
    assert "expected a password of 10 to 1024 characters, came 5" in capsys.readouterr().err
    assert not (tmp_path / "users.json").exists()
