"""The files of a device's identity in one directory; its settings come last, and with them it is enrolled."""

import os
import pwd
import stat
from pathlib import Path
from typing import Final

from edge_agent.config import KeyPlace, TokenKey, fragment, read_settings
from edge_agent.config.tokens import SCHEME
from edge_agent.errors import Code, ConfigError, IdentityError
from edge_agent.formats import parse
from edge_agent.identity import material, token
from edge_agent.identity.enrolment import Pack, Progress, check_root
from edge_agent.identity.lineage import keys_in
from edge_agent.storage import durable

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
_PROGRESS = ".enrolling.json"
_HEADER = "# Written by edge-agent enroll; other settings may stand around it.\n"


class Folder:
    """One directory.

    Args:
        directory: where everything lies; made when absent.
        owner: the user who gets the files; empty: whoever writes them.
        config: the settings' file; None: ``config.toml`` in ``directory``.
        renewed: where the agent keeps the certificates that followed.
        key: the device's key in a token; None: a file in ``directory``.
    """

    def __init__(
        self,
        directory: Path,
        owner: str = "",
        config: Path | None = None,
        renewed: Path | None = None,
        key: TokenKey | None = None,
    ) -> None:
        self.directory = directory.absolute()
        self.config = config or self.directory / fragment.CONFIG
        self.certificate = self.directory / fragment.CERTIFICATE
        self.private_key: KeyPlace = key or self.directory / fragment.KEY
        self._request = self.directory / fragment.REQUEST
        self._requested: dict[str, str] = {}
        self.authority = self.directory / fragment.AUTHORITY
        self._owner, self._renewed = owner, renewed
        self._progress = self.directory / _PROGRESS

    def request(self, thing: str) -> str:
        """Return a signing request by the device's key, PEM; the key is made where there is none.

        A token's request is kept: it tells the public part where the token stays closed, and asks for the next one.

        Raises:
            ConfigError: the token, its PIN or its library is missing or wrong.
            IdentityError: there is another kind of key, others may read it, or the token refused.
            StorageError: it cannot be written.
        """
        if not isinstance(self.private_key, TokenKey):
            return material.signing_request(self._key(self.private_key), thing)
        # A second time in one process a connection may have the token open.
        if thing not in self._requested:
            self._requested[thing] = token.signing_request(self.private_key, thing)
            durable.make_directory(self.directory)
            self._write(self._request, self._requested[thing].encode(), PUBLIC)
        return self._requested[thing]

    @property
    def has_key(self) -> bool:
        """Tell whether a key was made, or found in its token."""
        return (self._request if isinstance(self.private_key, TokenKey) else self.private_key).exists()

    def _key(self, path: Path) -> material.PrivateKey:
        if not path.exists():
            durable.make_directory(self.directory)
            self._write(path, material.new_key(), PRIVATE)
        with durable.translated(path):
            mode = path.stat().st_mode
            if mode & 0o077:
                message = (
                    f"{path}: expected mode 0600, others may read it: {stat.S_IMODE(mode):04o}; make a new identity"
                )
                raise IdentityError(Code.PERMISSION_DENIED, message)
            content = path.read_bytes()
        return material.read_key(content, str(path))

    def progress(self, thing: str) -> Progress:
        """Return how far the enrolment as ``thing`` came.

        Raises:
            IdentityError: another thing's enrolment was begun here.
            DocumentError: what is kept of it was changed by somebody.
        """
        if not self._progress.exists():
            return Progress(asked=thing)
        found = parse(Progress, self._read(self._progress), what=str(self._progress))
        if found.asked != thing:
            message = (
                f"{self.directory}: expected the enrolment of {thing}, one of {found.asked} was begun; forget it first"
            )
            raise IdentityError(Code.ALREADY_EXISTS, message)
        return found

    def save(self, progress: Progress) -> None:
        """Keep how far it came; the token in it is nobody else's business.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        durable.write(self._progress, progress.to_json(), mode=PRIVATE)

    def check(self, pack: Pack) -> str:
        """Check that nothing here says otherwise; return the settings as they are to be.

        Raises:
            IdentityError: another root of trust, or another thing's settings are here.
            ConfigError: the settings say otherwise, or a value is none that the agent would take.
        """
        told = {room: {key: value for key, value in keys.items() if value != ""} for room, keys in pack.rooms.items()}
        read_settings(None, told)
        if pack.root:
            check_root(pack.root, allow_demo=pack.allow_demo_root)
            self._refuse_other_root(pack.root)
        text = self._read(self.config) or _HEADER
        return fragment.merge(text, pack.rooms, str(self.config))

    def is_enrolled(self, pack: Pack) -> bool:
        """Tell whether everything is here and was finished.

        Raises:
            IdentityError, ConfigError: as ``check`` and ``request``.
        """
        if self._progress.exists() or not self.certificate.exists() or not self.has_key:
            return False
        if self.check(pack) != self._read(self.config):
            return False
        self.check_certificate(self._read(self.certificate))
        return True

    def check_certificate(self, pem: str) -> material.Certificate:
        """Return what a certificate says that is for this device's key.

        Raises:
            IdentityError: it is no certificate, or another key's.
        """
        found = material.read_certificate(pem, "certificate")
        material.check_fit(found, self._public(), "certificate")
        return found

    def _public(self) -> material.PrivateKey | material.Request:
        if isinstance(self.private_key, TokenKey):
            return material.read_request(self._read(self._request), str(self._request))
        return self._key(self.private_key)

    def put_certificate(self, pem: str, authority: str = "") -> None:
        """Write the certificate and the endpoint's authority, so that a connection can be made.

        Raises:
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        self._write(self.certificate, pem.encode(), PUBLIC)
        if authority:
            self._write(self.authority, authority.encode(), PUBLIC)

    def install(self, pack: Pack) -> None:
        """Write the root of trust and, last, the settings: from here on the device is enrolled.

        Raises:
            IdentityError, ConfigError: as ``check``.
            StorageError: NO_SPACE or STORAGE_FAILED.
        """
        text = self.check(pack)
        if pack.root:
            self._write(self.directory / fragment.ROOT, pack.root.encode(), PUBLIC)
        if isinstance(self.private_key, Path):
            # A power cut may have taken back whom it was given to.
            self._own(self.private_key)
        mode = stat.S_IMODE(self.config.stat().st_mode) if self.config.exists() else PUBLIC
        if text != self._read(self.config):
            self._write(self.config, text.encode(), mode)
        durable.remove(self._progress)

    @property
    def key_elsewhere(self) -> str:
        """Return the token's key that the settings name, which ``wipe`` cannot delete; empty: none."""
        try:
            named = fragment.read(self._read(self.config), str(self.config)).get("mqtt", {}).get("private_key")
        except ConfigError:
            return ""
        return named if isinstance(named, str) and named.startswith(SCHEME) else ""

    def forget(self) -> list[Path]:
        """Return what ``wipe`` would delete: the identity's files; the settings and the root of trust stay."""
        followed = keys_in(self._renewed) if self._renewed else []
        files = (self._progress, self.directory / fragment.KEY, self.certificate, self._request, *followed)
        return [path for path in files if path.exists()]

    def wipe(self) -> list[Path]:
        """Delete keys, certificates and what an enrolment left, the keys first; return what was deleted.

        A disk may keep old blocks: what ends the key for good is the cloud's ``edge-cloud device retire``.

        Raises:
            StorageError: STORAGE_FAILED.
        """
        doomed = sorted(self.forget(), key=lambda path: path.name != fragment.KEY)
        for path in doomed:
            durable.remove(path)
        return doomed

    def _refuse_other_root(self, root: str) -> None:
        path = self.directory / fragment.ROOT
        if path.exists() and self._read(path) != root:
            message = f"{path}: another root of trust is pinned here, and a device keeps its first; came another"
            raise IdentityError(Code.ALREADY_EXISTS, message)

    def _read(self, path: Path) -> str:
        with durable.translated(path):
            return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

    def _write(self, path: Path, content: bytes, mode: int) -> None:
        durable.write(path, content, mode=mode)
        self._own(path)

    def _own(self, path: Path) -> None:
        if self._owner:
            with durable.translated(path):
                who = pwd.getpwnam(self._owner)
                os.chown(path, who.pw_uid, who.pw_gid)
