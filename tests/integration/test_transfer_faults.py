"""What a network and a server can do to a download: bounded, resumed, cancellable, told for what it is."""

import random
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from edge_agent.errors import AgentError, CancelledError, Code, TransferError
from edge_agent.transfer import (
    AwsCredentials,
    Downloader,
    ObjectStore,
    SpeedFloor,
    Timeouts,
    TokenBucket,
    open_objects,
    side_by_side,
)
from tests.fakes.chaos_proxy import ChaosProxy, Harm, chaos_proxy
from tests.fakes.fetches import Fetch, Told
from tests.fakes.transfer_peer import Fault, TransferPeer, transfer_peer

KEY = "blobs/sha256/abc"
PATH = f"/repository/{KEY}"
MIB = 1 << 20
CONTENT = random.Random(5).randbytes(5 * MIB + 11)
PATIENCE_S = 60.0
TIMEOUTS = Timeouts(connect_s=5.0, silence_s=1.0, request_s=20.0)
NO_FLOOR = SpeedFloor()


@pytest.fixture
def peer() -> Iterator[TransferPeer]:
    with transfer_peer() as peer:
        peer.offer(PATH, CONTENT)
        yield peer


@pytest.fixture
def proxy(peer: TransferPeer) -> Iterator[ChaosProxy]:
    with chaos_proxy(peer.url) as proxy:
        yield proxy


def _fetch(url: str, tmp_path: Path, floor: SpeedFloor = NO_FLOOR) -> Fetch:
    objects = open_objects(f"{url}/repository", timeouts=TIMEOUTS)
    return Fetch(objects, tmp_path / "partial", KEY, len(CONTENT), floor=floor)


HARMS = {
    "cut in the head": Harm("cut", 40),
    "cut in the body": Harm("cut", MIB),
    "reset at once": Harm("reset"),
    "reset in the body": Harm("reset", 2 * MIB),
    "half closed in the body": Harm("half-close", MIB),
    "frozen in the head": Harm("freeze", 10),
    "frozen in the body": Harm("freeze", MIB),
    "late": Harm("delay", MIB, seconds=0.3),
}


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_connection_that_is_hurt_costs_another_try_and_no_byte_is_wrong(
    proxy: ChaosProxy, tmp_path: Path, harm: Harm
) -> None:
    proxy.hurt(harm, harm)
    fetch = _fetch(proxy.url, tmp_path)
    fetch()
    assert proxy.fired[harm.way] >= 1
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.lengths == sorted(fetch.lengths), "bytes that had arrived were thrown away"


@pytest.mark.parametrize("status", [408, 429, 500, 503, 504])
def test_a_call_is_tried_once_and_again_only_by_whoever_counts_the_tries(peer: TransferPeer, status: int) -> None:
    peer.always = Fault(status=status)
    objects = open_objects(f"{peer.url}/repository", timeouts=TIMEOUTS)
    with pytest.raises(TransferError) as told:
        objects.read(KEY, limit_bytes=MIB)
    assert not told.value.permanent
    assert len(peer.requests) == 1


def test_what_came_before_a_reset_is_not_fetched_again(peer: TransferPeer, proxy: ChaosProxy, tmp_path: Path) -> None:
    proxy.hurt(Harm("cut", 3 * MIB))
    _fetch(proxy.url, tmp_path)()
    assert proxy.fired["cut"] == 1
    second = peer.requests[1].start
    assert second is not None
    assert 2 * MIB < second < 3 * MIB


def test_an_endless_body_is_bounded_in_time_and_memory_and_what_came_is_right(
    peer: TransferPeer, tmp_path: Path
) -> None:
    peer.always = Fault(endless=True)
    fetch = _fetch(peer.url, tmp_path)
    tracemalloc.start()
    try:
        with suppress(TransferError):  # it may also have got everything by then
            fetch(within_s=2.0)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peer.endless_bytes > 0
    assert most < 24 * MIB, "more than a few ranges were in memory"
    came = fetch.target.read_bytes()
    assert len(came) > 4 * MIB - (64 << 10)
    assert CONTENT.startswith(came)


def test_endless_metadata_is_given_up_at_its_limit(peer: TransferPeer, tmp_path: Path) -> None:
    peer.always = Fault(endless=True)
    objects = open_objects(f"{peer.url}/repository", timeouts=TIMEOUTS)
    with pytest.raises(TransferError, match="at most 65536") as told:
        objects.read(KEY, limit_bytes=65536)
    assert told.value.permanent
    assert peer.endless_bytes < 64 * MIB


def test_a_redirect_is_followed_and_the_bytes_are_what_counts(peer: TransferPeer, tmp_path: Path) -> None:
    peer.offer("/elsewhere", CONTENT)
    peer.misbehave(Fault(redirect=f"{peer.url}/elsewhere"))
    fetch = _fetch(peer.url, tmp_path)
    fetch()
    assert [asked.path for asked in peer.requests][:2] == [PATH, "/elsewhere"]
    assert fetch.target.read_bytes() == CONTENT


def test_redirects_in_a_circle_end_and_are_tried_again_until_the_deadline(peer: TransferPeer, tmp_path: Path) -> None:
    peer.always = Fault(redirect=f"{peer.url}{PATH}")
    with pytest.raises(TransferError, match="redirect") as told:
        _fetch(peer.url, tmp_path)(within_s=3.0)
    assert told.value.code is Code.DEADLINE_EXCEEDED
    assert len(peer.requests) >= 10


def test_a_server_that_trickles_below_the_floor_is_dropped_and_tried_again(peer: TransferPeer, tmp_path: Path) -> None:
    peer.misbehave(Fault(trickle_s=0.02, piece=1))
    fetch = _fetch(peer.url, tmp_path, SpeedFloor(10_000, 1.0))
    fetch()
    assert len(peer.requests) >= 2, "the trickling request was not dropped"
    assert fetch.pauses, "it was not tried again like a temporary error"
    assert fetch.target.read_bytes() == CONTENT


def test_slow_retrieval_ends_at_the_deadline_and_says_how_slow_it_was(peer: TransferPeer, tmp_path: Path) -> None:
    peer.always = Fault(trickle_s=0.02, piece=1)
    with pytest.raises(TransferError, match=r"at least 10000 bytes/s, came \d+ bytes") as told:
        _fetch(peer.url, tmp_path, SpeedFloor(10_000, 0.5))(within_s=3.0)
    assert told.value.code is Code.DEADLINE_EXCEEDED
    assert told.value.permanent
    assert len(peer.requests) >= 2


def test_a_cap_below_the_floor_is_our_own_doing_and_drops_nothing(peer: TransferPeer, tmp_path: Path) -> None:
    content = CONTENT[: 256 << 10]
    peer.offer(PATH, content)
    objects = open_objects(f"{peer.url}/repository", timeouts=TIMEOUTS)
    bucket = TokenBucket(128 << 10, clock=time.monotonic)
    downloader = Downloader(objects, bandwidth=bucket, floor=SpeedFloor(256 << 10, 0.5))
    downloader.fetch(
        KEY, tmp_path / "partial", len(content), deadline=time.monotonic() + PATIENCE_S, cancelled=lambda: False,
        progress=lambda _: None,
    )  # fmt: skip
    assert (tmp_path / "partial").read_bytes() == content
    assert len(peer.requests) == len(content) // bucket.range_bytes, "a request was dropped"


class _Hour:
    """Time that passes only while somebody pauses; the requests are real."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_cap_is_kept_within_ten_percent_on_both_sides(peer: TransferPeer, tmp_path: Path) -> None:
    cap, clock = MIB, _Hour()
    objects = open_objects(f"{peer.url}/repository", timeouts=TIMEOUTS)
    downloader = Downloader(objects, bandwidth=TokenBucket(cap, clock=clock), clock=clock, sleep=clock.sleep)
    downloader.fetch(
        KEY, tmp_path / "partial", len(CONTENT), deadline=86_400, cancelled=lambda: False, progress=lambda _: None
    )
    # How long the requests took says how busy the machine is: what was waited for the cap is all of the time.
    assert 0.90 <= len(CONTENT) / clock.now / cap <= 1.10


def test_downloads_side_by_side_share_one_cap_and_all_arrive(peer: TransferPeer, tmp_path: Path) -> None:
    cap, names = 4 * MIB, "abc"
    for name in names:
        peer.offer(f"/repository/{name}", CONTENT)
    objects = open_objects(f"{peer.url}/repository", timeouts=TIMEOUTS)
    downloader = Downloader(objects, bandwidth=TokenBucket(cap, clock=time.monotonic))
    began = time.monotonic()

    def transfer(name: str) -> None:
        downloader.fetch(
            name, tmp_path / name, len(CONTENT), deadline=began + PATIENCE_S, cancelled=lambda: False,
            progress=lambda _: None,
        )  # fmt: skip

    side_by_side([lambda _, name=name: transfer(name) for name in names], lanes=3, cancelled=lambda: False)  # type: ignore[misc]
    rate = len(names) * len(CONTENT) / (time.monotonic() - began)
    assert rate <= cap * 1.10
    assert all((tmp_path / name).read_bytes() == CONTENT for name in names)


def test_a_cancellation_ends_all_downloads_even_while_the_peer_is_silent(peer: TransferPeer, tmp_path: Path) -> None:
    peer.always = Fault(stall=MIB)
    objects = open_objects(f"{peer.url}/repository", timeouts=Timeouts(5.0, 60.0, 60.0))
    cancelled = threading.Event()
    fetches = [Fetch(objects, tmp_path / name, KEY, len(CONTENT)) for name in "ab"]
    for fetch in fetches:
        fetch.cancelled = cancelled
    watcher = threading.Thread(target=lambda: peer.stalled.wait(PATIENCE_S) and cancelled.set())
    watcher.start()
    with pytest.raises(CancelledError):
        side_by_side([lambda _, one=one: one() for one in fetches], lanes=2, cancelled=cancelled.is_set)  # type: ignore[misc]
    watcher.join(PATIENCE_S)
    assert peer.stalled.is_set()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("download")]


def test_a_storm_of_an_hour_is_sat_out_with_few_tries_and_the_download_goes_on(
    peer: TransferPeer, tmp_path: Path
) -> None:
    clock = _Hour()
    storm = Fault(status=503)
    peer.misbehave(Fault(cut=MIB))
    objects = open_objects(f"{peer.url}/repository", timeouts=TIMEOUTS)
    downloader = Downloader(
        objects, bandwidth=TokenBucket(0, clock=clock), clock=clock, sleep=clock.sleep, rng=random.Random(1)
    )
    asked_in_storm: list[int] = []

    def weather(length: int) -> None:
        peer.always = storm if length and clock.now < 3600 else None
        asked_in_storm.append(len(peer.requests))

    downloader.fetch(
        KEY, tmp_path / "partial", len(CONTENT), deadline=86_400, cancelled=lambda: False, progress=weather
    )
    tries = len([at for at in asked_in_storm if at]) - 2
    assert clock.now >= 3600
    assert 60 <= tries <= 400, "an hour of full jitter up to a minute is some 120 tries"
    assert (tmp_path / "partial").read_bytes() == CONTENT
    assert all((asked.start or 0) > 0 for asked in peer.requests[1:]), "what came before the storm was fetched again"


EXPIRED = (
    b"<?xml version='1.0'?><Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
)


@pytest.mark.parametrize("status", [400, 403])
def test_an_expired_token_is_waited_for_until_somebody_renews_it(
    peer: TransferPeer, tmp_path: Path, status: int
) -> None:
    peer.offer(f"/bucket{PATH}", CONTENT)
    keys = ["OLD", "OLD", "OLD", "NEW"]
    objects = _bucket(peer, lambda: keys.pop(0) if len(keys) > 1 else keys[0])
    fetch = Fetch(objects, tmp_path / "partial", KEY, len(CONTENT))

    def expire(length: int) -> None:
        if length == 4 * MIB and not peer.faults_left and keys[0] == "OLD":
            peer.misbehave(*[Fault(status=status, text=EXPIRED)] * 3)

    fetch.lengths = Told(expire)
    fetch()
    assert peer.faults_left == 0
    assert "Credential=NEW/" in (peer.requests[-1].authorization or "")
    assert fetch.target.read_bytes() == CONTENT


def test_an_expired_token_that_nobody_renews_is_told_at_the_deadline(peer: TransferPeer, tmp_path: Path) -> None:
    peer.always = Fault(status=400, text=EXPIRED)
    fetch = Fetch(_bucket(peer, lambda: "OLD"), tmp_path / "partial", KEY, len(CONTENT))
    with pytest.raises(TransferError, match="credentials have expired") as told:
        fetch(within_s=3.0)
    assert told.value.code is Code.DEADLINE_EXCEEDED


def test_a_credentials_file_that_is_just_being_written_is_waited_for(peer: TransferPeer, tmp_path: Path) -> None:
    file = tmp_path / "credentials.json"
    sound = f'{{"endpoint": "{peer.url}", "access_key_id": "KEY", "secret_access_key": "hush"}}'
    file.touch(mode=0o600)
    file.write_text(sound)
    peer.offer(f"/bucket{PATH}", CONTENT)
    objects = open_objects("s3://bucket/repository", f"file:{file}", timeouts=TIMEOUTS)
    file.write_text(sound[:20])
    with pytest.raises(TransferError) as told:
        objects.read(KEY, limit_bytes=len(CONTENT))
    assert (told.value.code, told.value.permanent) == (Code.ACCESS_DENIED, False)
    file.write_text(sound)
    assert objects.read(KEY, limit_bytes=len(CONTENT)) == CONTENT


def _bucket(peer: TransferPeer, key: "object") -> ObjectStore:
    assert callable(key)
    return open_objects(
        "s3://bucket/repository",
        "aws-iot",
        aws_iot=lambda: AwsCredentials(key(), "hush", endpoint=peer.url),
        timeouts=TIMEOUTS,
    )


def test_a_stick_that_is_pulled_out_and_put_back_is_gone_on_with(tmp_path: Path) -> None:
    stick, pulled = tmp_path / "stick", tmp_path / "pulled"
    (stick / KEY).parent.mkdir(parents=True)
    (stick / KEY).write_bytes(CONTENT)
    fetch = Fetch(open_objects(stick.as_uri()), tmp_path / "partial", KEY, len(CONTENT))
    missed: list[AgentError] = []

    def pull(length: int) -> None:
        if length == 4 * MIB and not missed:
            stick.rename(pulled)
            stick.mkdir()  # what a stick was mounted on stays
            missed.append(AgentError(Code.OBJECT_MISSING, "pulled"))

    def put_back(_: float) -> None:
        if pulled.exists():
            stick.rmdir()
            pulled.rename(stick)
            fetch.pauses.append(0.0)

    fetch.lengths = Told(pull)
    fetch.downloader._sleep = put_back
    fetch()
    assert missed
    assert fetch.pauses, "nobody waited for the stick"
    assert fetch.target.read_bytes() == CONTENT
    assert fetch.lengths == [0, 4 * MIB, 4 * MIB, len(CONTENT)]
