"""A TUF repository in memory and its web server: any state that a publisher, a mirror or a thief could show."""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import quote, unquote

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    SuccinctRoles,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

TOP = ("root", "timestamp", "snapshot", "targets")
PIECE = b" " * (1 << 16)


def in_days(days: float) -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0) + timedelta(days=days)


class Simulator:
    """Drafts may be edited freely; ``publish`` signs them as they are, and only that is served.

    Args:
        consistent: whether file names carry versions and digests.
    """

    def __init__(self, *, consistent: bool = True) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.endless: set[str] = set()
        self.with_hashes = False
        self.root = Root(expires=in_days(30), consistent_snapshot=consistent)
        self.targets = Targets(expires=in_days(30))
        self.snapshot = Snapshot(expires=in_days(30))
        self.timestamp = Timestamp(expires=in_days(30))
        self.drafts: dict[str, Signed] = {role: getattr(self, role) for role in TOP}
        self.signers: dict[str, list[CryptoSigner]] = {role: [] for role in TOP}
        self._published: set[str] = set()
        for role in TOP:
            self.add_key(role)
        self.publish("root")
        self.update("targets")

    def draft(self, role: str) -> Targets:
        return cast("Targets", self.drafts[role])

    def add_key(self, role: str, signer: CryptoSigner | None = None, *, parent: str = "root") -> CryptoSigner:
        """Let one more key sign for ``role``; the parent is still to be published."""
        signer = signer or CryptoSigner.generate_ed25519()
        cast("Root | Targets", self.drafts[parent]).add_key(signer.public_key, role)
        self.signers[role].append(signer)
        return signer

    def rotate(self, *roles: str) -> None:
        """Give roles one new key each instead of the present ones, and publish root."""
        for role in roles:
            old = self.signers[role]
            self.signers[role] = []
            self.root.roles[role].keyids.clear()
            self.add_key(role)
            # A new root is signed by the old keys too.
            self.signers[role] += old if role == "root" else []
        self.publish("root")

    def publish(self, *roles: str, bump: bool = True) -> None:
        """Sign drafts with all keys of their roles and serve them."""
        for role in roles:
            draft = self.drafts[role]
            draft.version += int(bump and role in self._published)
            self._published.add(role)
            self.files[self.place(role)] = self.sign(draft, self.signers[role])

    def update(self, *roles: str) -> None:
        """Publish targets roles, the snapshot that names them, and the timestamp that names it."""
        self.publish(*roles)
        for role in roles:
            self.snapshot.meta[f"{role}.json"] = self._meta(role)
        self.publish("snapshot")
        self.update_timestamp()

    def update_timestamp(self) -> None:
        self.timestamp.snapshot_meta = self._meta("snapshot")
        self.publish("timestamp")

    def place(self, role: str, version: int | None = None) -> str:
        """Return under which path the server has a role's present draft, or another version of it."""
        name = f"{quote(role, safe='')}.json"
        if role == "root" or (self.root.consistent_snapshot and role != "timestamp"):
            return f"/metadata/{version or self.drafts[role].version}.{name}"
        return f"/metadata/{name}"

    def content(self, role: str) -> bytes:
        """Return what is served of a role."""
        return self.files[self.place(role)]

    def delegate(
        self, name: str, paths: Iterable[str] | None = ("*",), *, parent: str = "targets", **more: Any
    ) -> None:
        """Delegate to a role with one new key; it and its parent are still to be published."""
        delegator = self.draft(parent)
        if delegator.delegations is None:
            delegator.delegations = Delegations({}, {})
        roles = cast("dict[str, DelegatedRole]", delegator.delegations.roles)
        roles[name] = DelegatedRole(name, [], 1, more.pop("terminating", False), list(paths) if paths else None, **more)
        self.drafts.setdefault(name, Targets(expires=in_days(30)))
        self.signers.setdefault(name, [])
        self.add_key(name, parent=parent)

    def delegate_to_bins(self, bits: int, prefix: str) -> list[str]:
        """Delegate everything to 2^bits bins that share one key; return their names."""
        signer = CryptoSigner.generate_ed25519()
        bins = SuccinctRoles([], 1, bits, prefix)
        self.targets.delegations = Delegations({}, None, bins)
        self.targets.add_key(signer.public_key)
        names = list(bins.get_roles())
        for name in names:
            self.drafts[name] = Targets(expires=in_days(30))
            self.signers[name] = [signer]
        return names

    def add_target(self, path: str, content: bytes, role: str = "targets") -> None:
        """Put a file into a role's draft, and on the server."""
        self.draft(role).targets[path] = TargetFile.from_data(path, content, ["sha256"])
        self.serve_target(path, content, role)

    def serve_target(self, path: str, content: bytes, role: str = "targets") -> None:
        """Serve ``content`` where a client asks for ``path`` as the role signed it, whatever is signed."""
        self.files[self.target_place(path, role)] = content

    def target_place(self, path: str, role: str = "targets") -> str:
        """Return under which path the server has a target."""
        directory, slash, name = path.rpartition("/")
        digest = self.draft(role).targets[path].hashes["sha256"]
        return f"/targets/{directory}{slash}{f'{digest}.' if self.root.consistent_snapshot else ''}{name}"

    def asked_roles(self) -> list[str]:
        """Return the metadata files that were asked for, in order, and forget them."""
        names = [path.removeprefix("/metadata/").removesuffix(".json") for path in self.asked if "/metadata/" in path]
        self.asked.clear()
        return names

    @staticmethod
    def sign(draft: Signed, signers: Iterable[CryptoSigner]) -> bytes:
        metadata: Metadata[Any] = Metadata(draft)
        for signer in signers:
            metadata.sign(signer, append=True)
        return metadata.to_bytes(JSONSerializer())

    def _meta(self, role: str) -> MetaFile:
        version = self.drafts[role].version
        return MetaFile.from_data(version, self.content(role), ["sha256"]) if self.with_hashes else MetaFile(version)


@contextmanager
def served(simulator: Simulator) -> Iterator[str]:
    """Serve a simulator on loopback; yields its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            simulator.asked.append(self.path)
            if self.path in simulator.endless:
                self._pour()
                return
            # A target's path may come encoded; a role's name is asked for exactly as it is encoded.
            path = unquote(self.path) if self.path.startswith("/targets/") else self.path
            content = simulator.files.get(path)
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _pour(self) -> None:
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(PIECE)
            except ConnectionError:
                return

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), name="tuf-simulator")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
