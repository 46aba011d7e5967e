"""A real PKCS#11 token, SoftHSM's, in a directory of a test's own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_agent.config import TokenKey, token_key

PIN = "31415926"
LABEL = "press hall 4"
LIBRARIES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    *(str(path) for path in Path("/usr/lib").glob("*/softhsm/libsofthsm2.so")),
    "/usr/lib64/pkcs11/libsofthsm2.so",
)


def softhsm() -> Path:
    """Return SoftHSM's library; skip the test where there is none, but not in CI."""
    found = next((path for path in map(Path, LIBRARIES) if path.is_file()), None)
    missing = "SoftHSM is absent (scripts/setup-host brings it)"
    if found is None or shutil.which("softhsm2-util") is None:
        assert not os.environ.get("CI"), missing
        pytest.skip(missing)
    pytest.importorskip("pkcs11", reason="the extra hsm is not installed")
    return found


class SoftToken:
    """A token labelled ``LABEL`` without keys.

    Args:
        directory: gets the token, its PIN's file, and a copy of the library: the original may be at work in this
            process for another test, with other tokens, and a library has but one state in a process.
        monkeypatch: names the token's directory in the environment, for as long as its fixture lives.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.directory = directory
        self.library = Path(shutil.copy(softhsm(), directory / "token.so"))
        self.pin_file = directory / "pin"
        self.write_pin(PIN)
        (directory / "tokens").mkdir()
        configuration = directory / "softhsm2.conf"
        configuration.write_text(f"directories.tokendir = {directory / 'tokens'}\nlog.level = ERROR\n")
        monkeypatch.setenv("SOFTHSM2_CONF", str(configuration))
        self.make(LABEL)

    def make(self, label: str) -> None:
        """Make a token of that label."""
        words = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", PIN, "--pin", PIN]
        subprocess.run(words, check=True, capture_output=True)

    def write_pin(self, pin: str) -> None:
        """Write the PIN's file."""
        self.pin_file.touch(mode=0o600)
        self.pin_file.write_text(f"{pin}\n")

    def key(self, label: str = "press-7", *, token: str = LABEL, library: Path | None = None) -> TokenKey:
        """Return how the settings name a key in it."""
        module = library or self.library
        words = f"token={token.replace(' ', '%20')};object={label}?module-path={module}"
        return token_key(f"pkcs11:{words}&pin-source=file:{self.pin_file}")
