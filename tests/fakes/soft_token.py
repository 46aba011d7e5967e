"""Real PKCS#11 tokens in a directory of a test's own: SoftHSM's, and those of a TPM 2.0 in software."""

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edge_agent.config import TokenKey, token_key

PIN = "31415926"
LABEL = "press hall 4"
SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so")


def softhsm() -> Path:
    """Return SoftHSM's library; skip the test where there is none, but not in CI."""
    return _library(SOFTHSM, "softhsm/libsofthsm2.so", "softhsm2-util")


def _library(places: tuple[str, ...], name: str, *programs: str) -> Path:
    known = [*map(Path, places), *Path("/usr/lib").glob(f"*/{name}")]
    found = next((path for path in known if path.is_file()), None)
    absent = [program for program in programs if shutil.which(program) is None]
    if found is None or absent:
        missing = f"{', '.join(absent) or name} is absent (scripts/setup-host brings it)"
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
    pytest.importorskip("pkcs11", reason="the extra hsm is not installed")
    return found


class _Token:
    """A token labelled ``LABEL`` without keys.

    Args:
        directory: gets the token, its PIN's file, and a copy of the library: the original may be at work in this
            process for another test, with other tokens, and a library has but one state in a process.
        library: what opens it.
    """

    def __init__(self, directory: Path, library: Path) -> None:
        self.directory = directory
        self.library = Path(shutil.copy(library, directory / "token.so"))
        self.pin_file = directory / "pin"
        self.write_pin(PIN)
        self.make(LABEL)

    def make(self, label: str) -> None:
        """Make a token of that label."""
        words = ["softhsm2-util", "--module", str(self.library), "--init-token", "--free", "--label", label]
        subprocess.run([*words, "--so-pin", PIN, "--pin", PIN], check=True, capture_output=True)

    def write_pin(self, pin: str) -> None:
        """Write the PIN's file."""
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(f"{pin}\n")

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """Open it as its own tool does: by another copy of the library, so that the other's state stays."""
        import pkcs11  # noqa: PLC0415 - only with the extra hsm

        another = str(shutil.copy(self.library, self.directory / "another.so"))
        try:
            with pkcs11.lib(another).get_token(token_label=LABEL).open(rw=True, user_pin=PIN) as session:
                yield session
        finally:
            pkcs11.unload(another)

    def key(self, label: str = "press-7", *, token: str = LABEL, library: Path | None = None) -> TokenKey:
        """Return how the settings name a key in it."""
        module = library or self.library
        words = f"token={token.replace(' ', '%20')};object={label}?module-path={module}"
        return token_key(f"pkcs11:{words}&pin-source=file:{self.pin_file}")


class SoftToken(_Token):
    """SoftHSM's.

    Args:
        directory: gets everything.
        monkeypatch: names the tokens' directory in the environment, for as long as its fixture lives.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        library = softhsm()
        (directory / "tokens").mkdir()
        configuration = directory / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
        monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
        super().__init__(directory, library)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Take the tokens away for a while, from who did not open them yet."""
        tokens, elsewhere = self.directory / "tokens", self.directory / "elsewhere"
        tokens.rename(elsewhere)
        yield
        elsewhere.rename(tokens)

    def replug(self) -> None:
        """Do in this process what taking a token out and putting it back does: all sessions end, and the log-in."""
        library, slots = ctypes.CDLL(str(self.library)), (ctypes.c_ulong * 8)()
        found = ctypes.c_ulong(len(slots))
        assert library.C_GetSlotList(1, slots, ctypes.byref(found)) == 0
        assert [library.C_CloseAllSessions(ctypes.c_ulong(slot)) for slot in slots[: found.value]].count(0)

    def stop(self) -> None:
        """Nothing runs."""


class SoftTpm(_Token):
    """One of a TPM 2.0: swtpm's, behind tpm2-pkcs11.

    Args:
        directory: gets everything.
        monkeypatch: names the TPM in the environment, for as long as its fixture lives.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        library = _library((), "libtpm2_pkcs11.so.1", "swtpm", "softhsm2-util")
        _library((), "libtss2-tcti-swtpm.so.0")
        for name in ("tpm", "store"):
            (directory / name).mkdir()
        socket = directory / "s"
        monkeypatch.setenv("TPM2_PKCS11_TCTI", f"swtpm:path={socket}")
        monkeypatch.setenv("TPM2_PKCS11_STORE", str(directory / "store"))
        # As a daemon it returns once it listens.
        words = ["swtpm", "socket", "--tpm2", "--daemon", "--pid", f"file={directory / 'pid'}"]
        words += ["--tpmstate", f"dir={directory / 'tpm'}", "--flags", "not-need-init,startup-clear"]
        words += ["--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"]
        subprocess.run(words, check=True, capture_output=True)
        super().__init__(directory, library)

    def stop(self) -> None:
        """End the TPM."""
        os.kill(int((self.directory / "pid").read_text()), signal.SIGTERM)
