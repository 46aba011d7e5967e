"""The certificates of this device, one after the other: at every moment one of them is the one in use.

The first is the one that the settings name, which the agent may only read. Those after it lie in the state directory,
each in a folder with its number. ``succession.json`` says which is in use, and is replaced in one step: a power cut
leaves the old or the new one. A key that waits for its certificate is not in use.
"""

import logging
from pathlib import Path
from typing import Final, NamedTuple

from pydantic import Field

from edge_agent.config import KeyPlace, TokenKey, fragment
from edge_agent.errors import Code, DocumentError, IdentityError, StorageError
from edge_agent.formats import Document, parse
from edge_agent.identity import material
from edge_agent.storage import durable

_log = logging.getLogger(__name__)

RENEWED: Final = "identity"
"""The folder in the state directory."""
_RECORD: Final = "succession.json"
_PRIVATE, _PUBLIC, _FOLDER = 0o600, 0o644, 0o700


class Succession(Document):
    """Which certificate is in use."""

    first: str = Field(description="the id of the certificate that the settings name")
    current: int = Field(0, ge=0, description="the folder in use; 0: what the settings name")
    before: str = Field("", description="the id of the certificate before it")
    asking: bool = False
    """Whether the next folder's key waits for its certificate."""
    waiting: int | None = Field(None, ge=1, description="that folder; none: the one after the one in use")


class Files(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    private_key: KeyPlace


class Lineage:
    """The certificates in ``directory`` after the first; to look at them changes nothing.

    Another first one than before, as after a new enrolment, ends those that followed the old one.

    Args:
        directory: made when a second certificate is due.
        first: what the settings name.

    Raises:
        IdentityError: the first certificate cannot be read.
        StorageError: the directory cannot be read.
    """

    def __init__(self, directory: Path, first: Files) -> None:
        self._directory = directory
        self._first = first
        fresh = Succession(first=_read(first.certificate).id)
        found = self._found(fresh.first)
        self._succession, self._understood = found or fresh, found is not None

    @property
    def files(self) -> Files:
        """Return what is in use."""
        number = self._succession.current
        return self._files(number) if number else self._first

    @property
    def current(self) -> material.Certificate:
        """Return the certificate in use.

        Raises:
            IdentityError: it cannot be read.
        """
        return _read(self.files.certificate)

    @property
    def before(self) -> str:
        """Return the id of the certificate before it; empty: none."""
        return self._succession.before

    @property
    def request(self) -> str:
        """Return the signing request that waits for its certificate; empty: none does."""
        if not self._succession.asking:
            return ""
        return _text(self._next.certificate.with_name(fragment.REQUEST))

    def ask(self, thing: str) -> None:
        """Make the next key and a signing request for it; again it changes nothing.

        A key in a token stays: nobody can have copied it, and the request that its enrolment kept is told once more.

        Raises:
            IdentityError: no request was kept; nothing is asked for.
            StorageError: NO_SPACE or STORAGE_FAILED; nothing is asked for.
        """
        if self._succession.asking:
            return
        if not self._understood:
            # A key that lies there may be the one that a lost record called in use: none is written over.
            self._succession = self._succession.model_copy(update={"waiting": self._unused()})
        key, request = self._next.private_key, self._next.certificate.with_name(fragment.REQUEST)
        kept = _text(self._first.certificate.with_name(fragment.REQUEST)) if isinstance(key, TokenKey) else ""
        durable.make_directory(request.parent, mode=_FOLDER)
        signed = kept if isinstance(key, TokenKey) else _new_key(key, thing)
        durable.write(request, signed.encode(), mode=_PUBLIC)
        self._keep(self._succession.model_copy(update={"asking": True}))

    def put(self, pem: str) -> Files:
        """Write the next certificate beside its key, so that a connection can be tried; it is not in use.

        Raises:
            IdentityError: it is no certificate, another key's, or the one in use.
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        found = material.read_certificate(pem, "the next certificate")
        material.check_fit(found, self._public(self._next), "the next certificate")
        if found.id == self.current.id:
            # Taken as another one, it would be ended as the one before.
            message = "the next certificate: expected another one, came the one in use"
            raise IdentityError(Code.FAILED_PRECONDITION, message)
        durable.write(self._next.certificate, pem.encode(), mode=_PUBLIC)
        return self._next

    def switch(self) -> None:
        """Use the next certificate from now on, also after a power cut; ``tidy`` deletes the one before.

        Raises:
            IdentityError: the one in use cannot be read.
            StorageError: NO_SPACE or STORAGE_FAILED; the old one is in use.
        """
        news = {"current": self._number, "before": self.current.id, "asking": False, "waiting": None}
        self._keep(self._succession.model_copy(update=news))

    def tidy(self) -> None:
        """Delete what is neither in use nor waiting, keys of the past above all; nothing where that is not known.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        if not self._understood or self._succession.waiting:
            return
        durable.sweep(self._directory)
        current = self._succession.current
        wanted = {str(current), str(current + 1)} if self._succession.asking else {str(current)}
        for folder in self._directory.iterdir():
            if folder.is_dir() and folder.name not in wanted:
                durable.remove_tree(folder)

    @property
    def _number(self) -> int:
        return self._succession.waiting or self._succession.current + 1

    @property
    def _next(self) -> Files:
        return self._files(self._number)

    def _unused(self) -> int:
        with durable.translated(self._directory):
            names = [path.name for path in self._directory.iterdir()] if self._directory.is_dir() else []
        return 1 + max((int(name) for name in names if name.isdecimal()), default=0)

    def _files(self, number: int) -> Files:
        folder = self._directory / str(number)
        key = self._first.private_key if isinstance(self._first.private_key, TokenKey) else folder / fragment.KEY
        return Files(folder / fragment.CERTIFICATE, key)

    def _public(self, files: Files) -> material.PrivateKey | material.Request:
        if isinstance(files.private_key, TokenKey):
            request = files.certificate.with_name(fragment.REQUEST)
            return material.read_request(_text(request), str(request))
        with durable.translated(files.private_key):
            return material.read_key(files.private_key.read_bytes(), str(files.private_key))

    def _check_whole(self, files: Files) -> None:
        material.check_fit(_read(files.certificate), self._public(files), str(files.certificate))

    def _found(self, first: str) -> Succession | None:
        """Return what is kept; None where nothing is, it is another enrolment's, or the disk lost it."""
        path = self._directory / _RECORD
        with durable.translated(path):
            if not path.exists():
                return None
        try:
            kept = parse(Succession, _text(path), what=str(path))
            if kept.current:
                self._check_whole(self._files(kept.current))
        except (DocumentError, IdentityError, StorageError) as exc:
            # The cloud keeps the certificate that went before until its operator deletes it.
            fields = {"action": "certificate_lost", "reason": exc.message}
            _log.error("the device's newest certificate is lost, the first one is used", extra=fields)
            return None
        return kept if kept.first == first else None

    def _keep(self, succession: Succession) -> None:
        durable.write(self._directory / _RECORD, succession.to_json(), mode=_PRIVATE)
        self._succession, self._understood = succession, True


def keys_in(directory: Path) -> list[Path]:
    """Return the keys and certificates that a lineage keeps in ``directory``, keys first."""
    return [path for name in (fragment.KEY, fragment.CERTIFICATE) for path in sorted(directory.glob(f"*/{name}"))]


def _new_key(path: Path, thing: str) -> str:
    """Write a new key; return a signing request by it."""
    pem = material.new_key()
    durable.write(path, pem, mode=_PRIVATE)
    return material.signing_request(material.read_key(pem, str(path)), thing)


def _read(path: Path) -> material.Certificate:
    return material.read_certificate(_text(path), str(path))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        raise IdentityError(Code.FAILED_PRECONDITION, f"{path}: expected a file of text, {exc}") from exc
