"""Repositories behind TLS, a private authority, a proxy; and what the environment has no say in."""

import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.errors import Code, ConfigError, TransferError
from edge_agent.identity import Folder
from edge_agent.jobs.token import get
from edge_agent.transfer import DeviceIdentity, Timeouts, device_credentials, open_objects
from tests.fakes.certificates import Authority, Pair
from tests.fakes.soft_token import SoftToken
from tests.fakes.transfer_peer import Fault, TransferPeer, transfer_peer

KEY, PATH = "metadata/1.root.json", "/repository/metadata/1.root.json"
CONTENT = b"signed metadata" * 1000
TIMEOUTS = Timeouts(5.0, 5.0, 20.0)
NOBODY = "http://127.0.0.1:9"
ALIAS_PATH = "/role-aliases/press%20role/credentials"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "pki").mkdir()
    return Authority(tmp_path / "pki")


@pytest.fixture
def peer(authority: Authority) -> Iterator[TransferPeer]:
    with transfer_peer(_server_side(authority.issue("server"))) as peer:
        peer.offer(PATH, CONTENT)
        yield peer


def _server_side(pair: Pair, client_ca: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.private_key)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context


def _read(peer: TransferPeer, ca: Path | None) -> bytes:
    return open_objects(f"{peer.url}/repository", timeouts=TIMEOUTS, ca=ca).read(KEY, limit_bytes=len(CONTENT))


def test_a_repository_behind_a_private_authority_is_read_once_the_device_is_told_of_it(
    peer: TransferPeer, authority: Authority
) -> None:
    assert peer.url.startswith("https://")
    assert _read(peer, authority.ca) == CONTENT


@pytest.mark.parametrize("told", ["no authority", "another authority"])
def test_a_certificate_of_an_unknown_authority_is_told_at_once_and_by_its_name(
    peer: TransferPeer, tmp_path: Path, told: str
) -> None:
    (tmp_path / "other").mkdir()
    ca = Authority(tmp_path / "other").ca if told == "another authority" else None
    with pytest.raises(TransferError, match=r"repository\.ca.*(UnknownIssuer|BadSignature)") as refused:
        _read(peer, ca)
    assert (refused.value.code, refused.value.permanent) == (Code.TRANSFER_FAILED, True)
    assert peer.requests == [], "something was asked of a server that nobody vouches for"


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_authorities_that_are_none_are_told_before_anything_is_asked(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ca.pem").write_bytes(content)
    for ca in (tmp_path / "ca.pem", tmp_path / "absent.pem"):
        with pytest.raises(ConfigError, match="ca: expected"):
            open_objects("https://repository.example/x", ca=ca)


def test_a_redirect_out_of_tls_is_not_followed(peer: TransferPeer, authority: Authority) -> None:
    with transfer_peer() as plain:
        plain.offer("/x", CONTENT)
        peer.misbehave(Fault(redirect=f"{plain.url}/x"))
        with pytest.raises(TransferError, match="redirect"):
            _read(peer, authority.ca)
        assert peer.faults_left == 0
        assert plain.requests == []


LEADING_ELSEWHERE = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy", "all_proxy")


@pytest.mark.parametrize("variable", LEADING_ELSEWHERE)
def test_a_stray_proxy_variable_leads_nowhere(
    peer: TransferPeer, authority: Authority, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv(variable, NOBODY)
    assert _read(peer, authority.ca) == CONTENT


def test_the_proxy_of_the_settings_is_used(tmp_path: Path) -> None:
    with transfer_peer() as proxy:
        proxy.offer("http://127.0.0.1:9/repository/object", b"by proxy")
        objects = open_objects("http://127.0.0.1:9/repository", timeouts=TIMEOUTS, proxy=proxy.url)
        assert objects.read("object", limit_bytes=99) == b"by proxy"
        assert [asked.path for asked in proxy.requests] == ["http://127.0.0.1:9/repository/object"]
    with pytest.raises(ConfigError, match="proxy: expected a URL"):
        open_objects("https://repository.example/x", proxy="no url at all")


AWS_VARIABLES = {
    "AWS_ENDPOINT": NOBODY,
    "AWS_ENDPOINT_URL": NOBODY,
    "AWS_ENDPOINT_URL_S3": NOBODY,
    "AWS_PROXY_URL": NOBODY,
    "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    "AWS_S3_EXPRESS": "true",
    "AWS_SKIP_SIGNATURE": "true",
    "AWS_ALLOW_INVALID_CERTIFICATES": "true",
}


def test_stray_variables_of_aws_lead_no_bucket_elsewhere(
    peer: TransferPeer, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps({"endpoint": peer.url, "access_key_id": "KEY", "secret_access_key": "hush"}))
    peer.offer(f"/bucket{PATH}", CONTENT)
    peer.accepted_key = "KEY"
    for name, value in AWS_VARIABLES.items():
        monkeypatch.setenv(name, value)
    url, words = "s3://bucket/repository", f"file:{file}"
    objects = open_objects(url, words, timeouts=TIMEOUTS, ca=authority.ca)
    assert objects.read(KEY, limit_bytes=len(CONTENT)) == CONTENT
    with pytest.raises(TransferError, match="certificate"):
        open_objects(url, words, timeouts=TIMEOUTS).read(KEY, limit_bytes=len(CONTENT))


class _Provider(http.server.ThreadingHTTPServer):
    """AWS IoT's credentials provider, as far as a device sees it."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _ProviderHandler)
        self.context = context
        self.asked: list[tuple[str, str | None, str]] = []
        self.answers: list[tuple[int, bytes]] = []

    def get_request(self) -> tuple[Any, Any]:
        connection, address = super().get_request()
        wrapped = self.context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        return wrapped, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client without a certificate is what one test is about."""


class _ProviderHandler(http.server.BaseHTTPRequestHandler):
    server: _Provider

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing."""

    def do_GET(self) -> None:
        subject = dict(pair[0] for pair in self.connection.getpeercert()["subject"])  # type: ignore[attr-defined]
        self.server.asked.append((self.path, self.headers.get("x-amzn-iot-thingname"), subject["commonName"]))
        status, content = self.server.answers.pop(0) if self.server.answers else (200, _credentials("KEY"))
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def _credentials(key: str, *, lifetime_s: float = 3600) -> bytes:
    expiration = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + lifetime_s))
    fields = {"accessKeyId": key, "secretAccessKey": "hush", "sessionToken": "token", "expiration": expiration}
    return json.dumps({"credentials": fields}).encode()


@contextmanager
def _provider(authority: Authority) -> Iterator[_Provider]:
    with _Provider(_server_side(authority.issue("provider"), authority.ca)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="provider")
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _identity(server: _Provider, authority: Authority, pair: Pair) -> DeviceIdentity:
    endpoint = f"127.0.0.1:{server.server_port}"
    return DeviceIdentity(endpoint, "press role", "press-7", pair.certificate, pair.private_key, authority.ca)


def test_credentials_come_by_the_devices_certificate_and_are_renewed_when_refused(
    authority: Authority, tmp_path: Path
) -> None:
    with _provider(authority) as server, transfer_peer() as peer:
        peer.offer(f"/bucket{PATH}", CONTENT)
        server.answers = [(200, _credentials("OLD")), (200, _credentials("NEW"))]
        peer.accepted_key = "NEW"
        provider = device_credentials(_identity(server, authority, authority.issue("press-7")))
        assert provider is not None
        objects = open_objects(
            "s3://bucket/repository",
            "aws-iot",
            aws_iot=lambda: provider()._replace(endpoint=peer.url),
            timeouts=TIMEOUTS,
        )
        assert server.asked == [], "the network was asked while the configuration was read"
        assert objects.read(KEY, limit_bytes=len(CONTENT)) == CONTENT
        assert server.asked == [(ALIAS_PATH, "press-7", "press-7")] * 2
        assert peer.refused.is_set()


def test_credentials_tell_their_token_their_end_and_the_region_of_the_provider(authority: Authority) -> None:
    with _provider(authority) as server:
        provider = device_credentials(_identity(server, authority, authority.issue("press-7")))
        assert provider is not None
        keys = provider()
    assert (keys.access_key_id, keys.session_token, keys.region) == ("KEY", "token", None)
    assert keys.expires_at is not None
    assert 3000 < keys.expires_at - time.time() <= 3601
    assert "hush" not in repr(keys)


def test_credentials_come_by_the_certificate_that_is_in_use_when_they_are_asked_for(authority: Authority) -> None:
    in_use = [authority.issue("press-7")]
    with _provider(authority) as server:
        provider = device_credentials(_identity(server, authority, in_use[0]), lambda: in_use[0])
        assert provider is not None
        provider()
        in_use[0] = authority.issue("press-7-next")
        provider()
        provider()
    assert [name for _, _, name in server.asked] == ["press-7", "press-7-next", "press-7-next"]


def test_credentials_come_with_a_key_that_stays_in_its_token(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = SoftToken(tmp_path, monkeypatch)
    folder = Folder(tmp_path / "etc", key=token.key())
    folder.put_certificate(authority.sign(folder.request("press-7")))
    with _provider(authority) as server:
        asks = _identity(server, authority, Pair(folder.certificate, Path("none")))._replace(private_key=token.key())
        provider = device_credentials(asks, by_token=get)
        assert provider is not None
        assert provider().access_key_id == "KEY"
        assert server.asked == [(ALIAS_PATH, "press-7", "press-7")]
        server.answers = [(403, b"no")]
        with pytest.raises(TransferError, match="answered 403"):
            provider()
        following = authority.issue("press-8").certificate
        renewed = device_credentials(asks, lambda: (following, token.key()), get)
        assert renewed is not None
        with pytest.raises(TransferError, match="expected an answer"):
            renewed()
    with pytest.raises(TransferError, match="expected an answer"):
        provider()
    nowhere = device_credentials(asks._replace(certificate=tmp_path / "none.pem"), by_token=get)
    assert nowhere is not None
    with pytest.raises(TransferError, match=r"expected a certificate in .*none\.pem"):
        nowhere()
    token.pin_file.unlink()
    with pytest.raises(TransferError, match="expected the token's PIN") as told:
        provider()
    assert (told.value.code, told.value.permanent) == (Code.ACCESS_DENIED, False)
    with pytest.raises(ConfigError, match=r"mqtt\.certificate"):
        device_credentials(asks._replace(certificate=None), by_token=get)


def test_a_device_that_nobody_vouches_for_gets_no_credentials(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    stranger = Authority(tmp_path / "other").issue("stranger")
    with _provider(authority) as server:
        provider = device_credentials(_identity(server, authority, stranger))
        assert provider is not None
        with pytest.raises(TransferError, match="does not answer") as told:
            provider()
        assert not told.value.permanent
        assert server.asked == []


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ((403, b'{"message":"Invalid certificate"}'), Code.ACCESS_DENIED),
        ((500, b""), Code.ACCESS_DENIED),
        ((200, b"<html>"), Code.TRANSFER_FAILED),
        ((200, b"[]"), Code.TRANSFER_FAILED),
        ((200, b'{"credentials": {"accessKeyId": "KEY"}}'), Code.TRANSFER_FAILED),
        ((200, _credentials("KEY").replace(b"Z", b"?")), Code.TRANSFER_FAILED),
        ((200, _credentials("KEY").replace(b'"hush"', b"7")), Code.TRANSFER_FAILED),
    ],
)
def test_a_provider_that_answers_wrongly_is_a_fault_that_may_pass_and_shows_no_secret(
    authority: Authority, answer: tuple[int, bytes], code: Code
) -> None:
    with _provider(authority) as server:
        server.answers = [answer]
        provider = device_credentials(_identity(server, authority, authority.issue("press-7")))
        assert provider is not None
        with pytest.raises(TransferError) as told:
            provider()
    assert (told.value.code, told.value.permanent) == (code, False)
    assert "hush" not in str(told.value)
    assert server.answers == []


def test_what_the_provider_needs_is_told_when_it_is_missing(authority: Authority) -> None:
    pair = authority.issue("press-7")
    whole = DeviceIdentity("a.credentials.iot.eu-central-1.amazonaws.com", "role", "press-7", *pair)
    assert device_credentials(whole._replace(endpoint="")) is None
    for change, word in (
        ({"endpoint": "https://x"}, "credentials_endpoint"),
        ({"role_alias": ""}, "role_alias"),
        ({"certificate": None}, r"mqtt\.certificate"),
        ({"private_key": authority.ca}, "PEM"),
        ({"ca": pair.private_key}, "PEM"),
    ):
        with pytest.raises(ConfigError, match=word):
            device_credentials(whole._replace(**change))
    assert device_credentials(whole) is not None
