"""What waits beside the keys: a root that lacks signatures, and an upload that was cut off.

``pending-root.json`` is ordinary TUF metadata that may be carried from stick to stick; what is
being done stands beside the signed part. ``pending-upload.json`` holds signed files in the order
in which they go up: doing it again ends where doing it once would have.
"""

import json
from pathlib import Path
from typing import Any, Final, NamedTuple

from securesystemslib.signer import Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization.json import JSONSerializer

from cloud_tools.errors import CloudError
from cloud_tools.release.keys import KeyDirectory
from cloud_tools.storage import Storage, read
from edge_agent.errors import Code

_LIMIT_BYTES: Final = 32 << 20
_WHAT: Final = "pending"


class Upload(NamedTuple):
    """One file to be put there.

    Attributes:
        key: where.
        content: what.
        tag: of the content that it may replace; None: there may be none.
        anyway: whatever is there is replaced.
    """

    key: str
    content: bytes
    tag: str | None
    anyway: bool = False

    def do(self, storage: Storage) -> None:
        """Put it there; a file that is there already, byte for byte, was put there by this.

        Raises:
            CloudError: FAILED_PRECONDITION (something else is there), or as the storage says.
        """
        if self.anyway:
            storage.write(self.key, self.content)
            return
        try:
            storage.swap(self.key, self.content, self.tag)
        except CloudError as exc:
            if exc.code is not Code.FAILED_PRECONDITION or not _holds(storage, self.key, self.content):
                raise


class PendingUpload:
    """An upload that must not be left half done.

    Args:
        directory: where its file lies.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "pending-upload.json"

    @property
    def what(self) -> str | None:
        """Return what is being done, None when nothing is."""
        return str(self._load()["what"]) if self._path.is_file() else None

    def save(self, what: str, uploads: list[Upload]) -> None:
        """Remember all of it before the first file goes up.

        Raises:
            CloudError: STORAGE_FAILED.
        """
        files = [{**upload._asdict(), "content": upload.content.decode()} for upload in uploads]
        _keep(self._path, json.dumps({"what": what, "files": files}).encode())

    def finish(self, storage: Storage) -> None:
        """Upload what waits; nothing when nothing does.

        Raises:
            CloudError: FAILED_PRECONDITION (another publisher was first: it is undone, and nothing of it is
                visible), or as the storage says, and it waits on.
        """
        if not self._path.is_file():
            return
        for entry in self._load()["files"]:
            upload = Upload(**{**entry, "content": entry["content"].encode()})
            try:
                upload.do(storage)
            except CloudError as exc:
                if exc.code is Code.FAILED_PRECONDITION:
                    self._path.unlink()
                raise
        self._path.unlink()

    def _load(self) -> dict[str, Any]:
        return _document(self._path)


class PendingRoot:
    """A root that collects signatures.

    Args:
        directory: where its file lies.
    """

    def __init__(self, directory: Path) -> None:
        self.path = directory / "pending-root.json"

    @property
    def what(self) -> str:
        """Return what is being done, empty when no root waits."""
        return str(_document(self.path).get(_WHAT, "")) if self.path.is_file() else ""

    def begin(self, root: Root, what: str) -> None:
        """Let ``root`` wait for signatures.

        Raises:
            CloudError: FAILED_PRECONDITION (another one waits), STORAGE_FAILED.
        """
        if self.path.is_file():
            raise CloudError(
                Code.FAILED_PRECONDITION,
                f"{self.path}: expected no waiting root, one waits ({self.what}): finish it by `repo sign`, "
                "or give it up by `repo keys cancel`",
            )
        self._save(Metadata(root), what)

    def load(self) -> "Metadata[Root]":
        """Return what waits.

        Raises:
            CloudError: NOT_FOUND, CONFIG_INVALID.
        """
        if not self.path.is_file():
            raise CloudError(Code.NOT_FOUND, f"{self.path}: expected a waiting root, there is none")
        try:
            metadata: Metadata[Root] = Metadata.from_file(str(self.path))
        except RepositoryError as exc:
            raise CloudError(Code.CONFIG_INVALID, f"{self.path}: {exc}") from exc
        if not isinstance(metadata.signed, Root):
            raise CloudError(Code.CONFIG_INVALID, f"{self.path}: expected a root, came {metadata.signed.type}")
        return metadata

    def sign(self, keys: KeyDirectory, old: Root | None) -> list[str]:
        """Add the signatures of what is at hand; return what lacks, in words.

        Args:
            keys: what is at hand; no root key at all is no fault.
            old: the root before, whose keys must sign too; None: there is none, or it is not known here.

        Raises:
            CloudError: PERMISSION_DENIED, CONFIG_INVALID, STORAGE_FAILED.
        """
        metadata = self.load()
        for signer in _root_signers(keys):
            if signer.public_key.keyid not in metadata.signatures:
                add_signature(metadata, signer)
        self._save(metadata, self.what)
        return _lacking(metadata, old)

    def content(self, old: Root | None) -> bytes:
        """Return the file to publish: the signatures that count, and nothing beside."""
        metadata = self.load()
        metadata.unrecognized_fields.clear()
        counting = {*metadata.signed.roles["root"].keyids, *(old.roles["root"].keyids if old else ())}
        for keyid in [keyid for keyid in metadata.signatures if keyid not in counting]:
            del metadata.signatures[keyid]
        return metadata.to_bytes(JSONSerializer(compact=False))

    def discard(self) -> None:
        """Let nothing wait any more."""
        self.path.unlink(missing_ok=True)

    def _save(self, metadata: "Metadata[Root]", what: str) -> None:
        metadata.unrecognized_fields[_WHAT] = what
        _keep(self.path, metadata.to_bytes(JSONSerializer(compact=False)))


def add_signature(metadata: "Metadata[Any]", signer: Signer) -> None:
    """Let ``signer`` sign too. Not through ``Metadata.sign``, which hides what a token said.

    Raises:
        CloudError: as the signer says.
    """
    signature = signer.sign(metadata.signed_bytes)
    metadata.signatures[signature.keyid] = signature


def _root_signers(keys: KeyDirectory) -> list[Signer]:
    return keys.signers("root") if keys.files("root") else []


def _lacking(metadata: "Metadata[Root]", old: Root | None) -> list[str]:
    payload, signatures = metadata.signed_bytes, metadata.signatures
    judged = {"new": metadata.signed.get_verification_result("root", payload, signatures)}
    if old is not None:
        judged["old"] = old.get_verification_result("root", payload, signatures)
    return [
        f"{result.threshold - len(result.signed)} more of the {name} root keys "
        f"({', '.join(sorted(keyid[:8] for keyid in result.unsigned))})"
        for name, result in judged.items()
        if not result.verified
    ]


def _holds(storage: Storage, key: str, content: bytes) -> bool:
    try:
        return read(storage, key, limit_bytes=len(content)) == content
    except CloudError as exc:
        if exc.code in (Code.NOT_FOUND, Code.DIGEST_MISMATCH):
            return False
        raise


def _keep(path: Path, content: bytes) -> None:
    staged = path.with_suffix(".staged")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        staged.write_bytes(content)
        staged.replace(path)
    except OSError as exc:
        raise CloudError(Code.STORAGE_FAILED, f"{path}: {exc.strerror}") from exc


def _document(path: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise CloudError(Code.CONFIG_INVALID, f"{path}: expected JSON, {exc}") from exc
    return document
