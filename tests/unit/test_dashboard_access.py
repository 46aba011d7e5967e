"""Who may see and do what: logins, roles, sessions; and what a stranger tries."""

import io
import re
from pathlib import Path

import pytest
from flask import Flask

from edge_agent.dashboard.login import Gate
from edge_agent.dashboard.sessions import TRIES
from edge_agent.dashboard.users import Users
from edge_agent.formats import LogLine, Verdict
from tests.fakes.cheap_users import PASSWORD, a_user, users_file
from tests.fakes.page_agent import PageAgent, a_camera, a_capture, a_frame, a_model, a_report, a_result, a_shift
from tests.fakes.page_room import PageRoom, guarded

HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
PAGES = ("/", "/today", "/models", "/models/unet/threshold", "/captures", "/try", "/health")
ORDERS = {
    "/models/unet/rollback": ("operator", {"reason": "x"}),
    "/today/reset": ("operator", {"reason": "x"}),
    "/today/golden": ("operator", {}),
    "/captures/c1/label": ("operator", {"label": "OK"}),
    "/captures/pause": ("operator", {"what": "capture", "pause": "yes"}),
    "/models/unet/threshold": ("admin", {"reason": "x", "threshold": "0.4"}),
}


def prepared(room: PageRoom) -> PageRoom:
    room.agent.models = {"unet": a_model("unet", "2", previous="1")}
    room.agent.shift_list = [a_shift()]
    room.agent.capture_list = [a_capture()]
    room.agent.show(a_frame("f1", Verdict.NG), b"jpeg bytes")
    room.look()
    return room


@pytest.fixture
def room(tmp_path: Path) -> PageRoom:
    return prepared(guarded(tmp_path))


def done(agent: PageAgent) -> int:
    return len(agent.orders) + len(agent.rolled_back)


@pytest.mark.parametrize("path", PAGES)
def test_a_stranger_sees_nothing_and_is_asked_to_log_in(room: PageRoom, path: str) -> None:
    answer = room.browser.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.location.startswith("/login?next=")
    assert "press-line-4" not in room.browser.get(answer.location).text


@pytest.mark.parametrize(
    "path",
    ["/events", "/snapshot", "/frames/f1.jpg", "/captures/c1/picture", "/today/view", "/health/view", "/nowhere"],
)
def test_a_stranger_gets_no_news_and_no_pictures(room: PageRoom, path: str) -> None:
    answer = room.browser.get(path)
    assert (answer.status_code, answer.text) == (401, "expected a login\n")


def test_probes_and_style_are_open(room: PageRoom) -> None:
    for path in ("/healthz", "/readyz", "/static/page.css"):
        with room.browser.get(path) as answer:
            assert answer.status_code == 200


@pytest.mark.parametrize("path", ORDERS)
def test_a_stranger_can_do_nothing(room: PageRoom, path: str) -> None:
    form = {"token": room.token("/login"), **ORDERS[path][1]}
    assert room.browser.post(path, data=form).status_code == 401
    assert done(room.agent) == 0


@pytest.mark.parametrize("name", ["vera", "otto", "ada"])
@pytest.mark.parametrize("path", ORDERS)
def test_each_role_does_what_it_may_and_no_more(room: PageRoom, path: str, name: str) -> None:
    role, form = ORDERS[path]
    allowed = name == "ada" or (name == "otto" and role == "operator")
    assert room.log_in(name).status_code == 303
    answer = room.browser.post(path, data={"token": room.token("/"), **form})
    assert (answer.status_code, done(room.agent)) == ((303, 1) if allowed else (403, 0))
    assert allowed or "This takes the role" in answer.text


def test_a_viewer_tries_no_images(room: PageRoom) -> None:
    room.log_in("vera")
    form = {"token": room.token("/"), "picture": (io.BytesIO(b"\xff\xd8\xff"), "x.jpg")}
    assert room.browser.post("/try", data=form).status_code == 403
    assert done(room.agent) == 0


def test_a_viewer_is_offered_no_buttons_that_would_be_refused(room: PageRoom) -> None:
    room.log_in("vera")
    for path, button in (
        ("/models", 'data-testid="rollback-confirm"'),
        ("/today", 'data-testid="reset"'),
        ("/today", 'data-testid="check-golden"'),
        ("/captures", 'data-testid="pause-capture"'),
        ("/captures", 'data-testid="label-OK"'),
        ("/try", 'data-testid="try-send"'),
        ("/models/unet/threshold", 'data-testid="threshold-confirm"'),
    ):
        answer = room.browser.get(path)
        assert (answer.status_code, button in answer.text) == (200, False), path


def test_who_did_it_stands_in_the_agents_record(room: PageRoom) -> None:
    room.log_in("otto")
    room.browser.post("/today/reset", data={"token": room.token("/"), "reason": "new tools"})
    assert room.agent.orders == [("reset_counts", "new tools", "dashboard otto 127.0.0.1")]


def test_a_login_goes_on_to_the_page_that_was_wanted(room: PageRoom) -> None:
    assert room.log_in("otto", next="/captures?verdict=NG").location == "/captures?verdict=NG"


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example/",
        "//evil.example",
        "///evil.example",
        "////evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "/\n/evil",
        "",
    ],
)
def test_a_login_never_goes_on_to_another_site(room: PageRoom, following: str) -> None:
    assert room.log_in("otto", next=following).location == "/"


def test_a_session_that_was_planted_before_the_login_is_worth_nothing_after_it(room: PageRoom) -> None:
    room.browser.set_cookie("edge-agent-session", "planted")
    before = room.token("/login")
    room.log_in("otto")
    given = room.browser.get_cookie("edge-agent-session")
    assert given is not None
    assert given.value != "planted"
    assert given.http_only
    assert given.same_site == "Strict"
    stranger = room.app.test_client()
    stranger.set_cookie("edge-agent-session", "planted")
    assert stranger.get("/snapshot").status_code == 401
    # The form's token of before is worth nothing either.
    assert room.browser.post("/today/reset", data={"token": before, "reason": "x"}).status_code == 403


def test_each_login_gets_another_session_and_ends_the_one_before(room: PageRoom) -> None:
    room.log_in("otto")
    first = room.browser.get_cookie("edge-agent-session")
    room.log_in("otto")
    second = room.browser.get_cookie("edge-agent-session")
    assert first is not None
    assert second is not None
    assert first.value != second.value
    thief = room.app.test_client()
    thief.set_cookie("edge-agent-session", first.value)
    assert thief.get("/snapshot").status_code == 401


def test_a_logout_ends_the_session_on_the_server(room: PageRoom) -> None:
    room.log_in("otto")
    cookie = room.browser.get_cookie("edge-agent-session")
    assert cookie is not None
    assert room.order("/logout", form_on="/").status_code == 303
    assert room.browser.get_cookie("edge-agent-session") is None
    thief = room.app.test_client()
    thief.set_cookie("edge-agent-session", cookie.value)
    assert thief.get("/snapshot").status_code == 401


def test_a_logout_by_another_site_is_refused(room: PageRoom) -> None:
    room.log_in("otto")
    assert room.browser.post("/logout").status_code == 403
    assert room.browser.get("/snapshot").status_code == 200


def test_a_login_by_another_sites_form_is_refused(room: PageRoom) -> None:
    form = {"name": "otto", "password": PASSWORD}
    assert room.browser.post("/login", data=form).status_code == 403
    assert room.browser.get_cookie("edge-agent-session") is None


def test_a_wrong_password_and_an_unknown_name_hear_the_same(room: PageRoom) -> None:
    def told(name: str) -> tuple[int, str]:
        answer = room.log_in(name, "wrong password")
        return answer.status_code, re.sub(r'value="[0-9a-f]{64}"', "", answer.text)

    assert told("otto") == told("nobody")
    assert told("otto")[0] == 401
    assert "Name or password is wrong." in told("otto")[1]


def test_guessing_is_braked_even_with_the_right_password_at_last(room: PageRoom) -> None:
    for _ in range(TRIES):
        assert room.log_in("otto", "wrong password").status_code == 401
    answer = room.log_in("otto")
    assert (answer.status_code, "Wait 5 minutes." in answer.text) == (429, True)
    assert room.browser.get_cookie("edge-agent-session") is None
    # Names that nobody has are braked alike, from wherever.
    elsewhere = {"REMOTE_ADDR": "10.0.0.9"}
    form = {"token": room.token("/login"), "name": "otto", "password": PASSWORD}
    assert room.browser.post("/login", data=form, environ_base=elsewhere).status_code == 429
    form["name"] = "ada"
    assert room.browser.post("/login", data=form, environ_base=elsewhere).status_code == 303


def test_with_users_on_loopback_anyone_there_may_look_and_logs_in_to_act(tmp_path: Path) -> None:
    room = prepared(guarded(tmp_path, transport="local", listen="127.0.0.1:8080"))
    page = room.browser.get("/today")
    assert (page.status_code, 'data-testid="to-login"' in page.text) == (200, True)
    refused = room.browser.post("/today/reset", data={"token": room.token("/login"), "reason": "x"})
    assert (refused.status_code, done(room.agent)) == (403, 0)
    room.log_in("otto")
    assert room.browser.post("/today/reset", data={"token": room.token("/"), "reason": "x"}).status_code == 303


def test_behind_a_tls_proxy_cookies_go_over_tls_alone(tmp_path: Path) -> None:
    room = guarded(tmp_path, transport="proxy", listen="127.0.0.1:8080")
    page = room.browser.get("/login", base_url="https://localhost")
    token = re.search(r'name="token" value="([0-9a-f]{64})"', page.text)
    assert token
    form = {"token": token[1], "name": "otto", "password": PASSWORD}
    answer = room.browser.post("/login", data=form, base_url="https://localhost")
    assert answer.status_code == 303
    cookies = answer.headers.getlist("Set-Cookie")
    assert any(cookie.startswith("__Host-edge-agent=") for cookie in cookies)
    assert all("Secure" in cookie and "HttpOnly" in cookie for cookie in cookies)


@pytest.mark.parametrize(
    ("sent", "stays"),
    [
        ({"Sec-Fetch-Mode": "navigate"}, True),
        ({"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}, True),  # a browser without TLS
        ({"Accept": "*/*"}, False),
        ({"Accept": "text/html", "Sec-Fetch-Mode": "cors"}, False),
    ],
)
def test_whoever_opens_pages_stays_logged_in_and_a_page_that_asks_by_itself_keeps_nobody(
    tmp_path: Path, sent: dict[str, str], stays: bool
) -> None:
    clock = iter(range(0, 1 << 20, 3600)).__next__
    gate = Gate(Users(users_file(tmp_path / "users.json")), open_reads=False, secure=False, now=clock)
    app = Flask(__name__)
    gate.attach(app)
    app.add_url_rule("/", view_func=lambda: "seen")
    app.add_url_rule("/login", "login.form", lambda: "log in")
    browser = app.test_client()
    browser.set_cookie("edge-agent-session", gate.sessions.begin(a_user("otto")))
    answers = [browser.get("/", headers=sent).status_code for _ in range(4)]
    assert (answers[0], answers[-1] == 200) == (200, stays)


def test_a_stream_ends_when_its_viewer_is_logged_out(room: PageRoom) -> None:
    room.log_in("otto")
    with room.browser.get("/events", buffered=False) as answer:
        news = answer.response
        assert b"event: now" in next(iter(news))
        room.order("/logout", form_on="/")
        assert len(list(news)) <= 2


@pytest.mark.parametrize("path", ["/static/..%2F..%2Fapp.py", "/static/../app.py", "/frames/..%2F..%2Fusers.json.jpg"])
def test_no_path_leads_out_of_the_page(path: str) -> None:
    answer = PageRoom().browser.get(path)
    assert answer.status_code == 404
    assert "import" not in answer.text


def test_hostile_names_stay_text_on_every_page() -> None:
    room = PageRoom()
    model = a_model("unet", HOSTILE, previous=HOSTILE, message=HOSTILE, applications=(HOSTILE,), runtime=HOSTILE)
    room.agent.models = {"unet": model, HOSTILE: a_model(HOSTILE)}
    result = a_result("unet", HOSTILE, Verdict.NG, application=HOSTILE, label=HOSTILE, message=HOSTILE)
    room.agent.show(a_frame("f1", Verdict.NG, result, source=HOSTILE, name=HOSTILE, message=HOSTILE), b"x")
    room.agent.cameras = {HOSTILE: a_camera(HOSTILE, HOSTILE, kind=HOSTILE, message=HOSTILE)}
    room.agent.rule = HOSTILE
    room.agent.shift_list = [a_shift(HOSTILE, reset_by=HOSTILE), a_shift(HOSTILE, running=False, reset_by=HOSTILE)]
    room.agent.golden = room.agent.golden.model_copy(update={"state": HOSTILE, "message": HOSTILE, "actor": HOSTILE})
    room.agent.capture_list = [
        a_capture("c1", HOSTILE, model=HOSTILE, source=HOSTILE, name=HOSTILE, label=HOSTILE, labelled_by=HOSTILE)
    ]
    room.agent.log_lines = [LogLine(at=1.0, level="INFO", logger=HOSTILE, message=HOSTILE, fields={HOSTILE: HOSTILE})]
    room.agent.tell(a_report(HOSTILE, code=HOSTILE, message=HOSTILE, reason=HOSTILE, actor=HOSTILE, ended=1.0))
    room.agent.trial_answer = a_frame("t", Verdict.NG, result, message=HOSTILE)
    room.look()
    trial = room.order("/try", picture=(io.BytesIO(b"\xff\xd8\xff"), HOSTILE)).location
    for path in (*PAGES, trial, f"/?source={HOSTILE}", f"/captures?verdict={HOSTILE}", f"/health?level={HOSTILE}"):
        page = room.browser.get(path).text
        assert "<script>alert" not in page, path
        assert "<img src=x" not in page, path
        assert HOSTILE not in page, path
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son[a-z]+=[^&]*alert\(1", page), path
    assert "&lt;script&gt;" in room.browser.get("/health").text


def test_scripts_build_no_markup_from_text() -> None:
    static = Path(__file__).parents[2] / "edge_agent/dashboard/static"
    scripts = sorted(static.glob("*.js"))
    assert len(scripts) >= 10
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), (
            script
        )


def test_every_order_without_our_own_form_changes_nothing() -> None:
    room = prepared(PageRoom())
    for path, (_, form) in ORDERS.items():
        assert room.browser.post(path, data=form).status_code == 403, path
        assert room.browser.post(path, data=form | {"token": "0" * 64}).status_code == 403, path
    assert room.browser.post("/try", data={"picture": (io.BytesIO(b"\xff\xd8\xff"), "x")}).status_code == 403
    assert done(room.agent) == 0


@pytest.mark.parametrize("path", [*PAGES, "/login", "/captures/queue", "/try/x"])
def test_every_page_forbids_framing_and_foreign_content(tmp_path: Path, path: str) -> None:
    for room in (prepared(PageRoom()), guarded(tmp_path)):
        headers = room.browser.get(path, headers={"Accept": "text/html"}).headers
        assert headers["X-Frame-Options"] == "DENY"
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
