"""A key in a token as the settings name it, and where its PIN comes from."""

from pathlib import Path

import pytest

from edge_agent.config import Mqtt, TokenKey, read_pin, read_settings, token_fault, token_key
from edge_agent.errors import Code, ConfigError, TokenError

URI = "pkcs11:token=press%20hall%204;object=press-7?module-path=/usr/lib/token.so&pin-source=file:/etc/pin"


def test_a_uri_names_library_token_key_and_pin(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(f'[mqtt]\nprivate_key = "{URI}"\n')
    key = read_settings(tmp_path / "config.toml").mqtt.private_key
    assert key == TokenKey(URI, Path("/usr/lib/token.so"), "press hall 4", "press-7", "file:/etc/pin")
    assert str(key) == URI


def test_a_path_stays_a_path_and_nothing_stays_nothing() -> None:
    assert Mqtt.model_validate({"private_key": "/etc/private.key"}).private_key == Path("/etc/private.key")
    assert Mqtt.model_validate({"private_key": ""}).private_key is None


def test_three_slashes_and_the_kind_of_object_are_understood() -> None:
    key = token_key(URI.replace("file:/etc", "file:///etc").replace(";object", ";type=private;object"))
    assert (key.pin_file, key.object) == (Path("/etc/pin"), "press-7")


@pytest.mark.parametrize(
    ("instead", "of"),
    [
        ("", "token=press%20hall%204;"),
        ("", ";object=press-7"),
        ("", "module-path=/usr/lib/token.so&"),
        ("", "&pin-source=file:/etc/pin"),
        ("pin-value=31415926", "pin-source=file:/etc/pin"),
        ("pin=31415926", "pin-source=file:/etc/pin"),
        ("module-path=./token.so", "module-path=/usr/lib/token.so"),
        ("file:pin", "file:/etc/pin"),
        ("credential:../pin", "file:/etc/pin"),
        ("credential:", "file:/etc/pin"),
        ("slot-id=31415926;", "token=press%20hall%204;"),
    ],
)
def test_what_names_no_key_is_refused_with_the_form_and_without_a_pin(instead: str, of: str, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text(f'[mqtt]\nprivate_key = "{URI.replace(of, instead)}"\n')
    with pytest.raises(ConfigError, match="expected pkcs11:token=LABEL;object=LABEL") as caught:
        read_settings(file)
    assert caught.value.code is Code.CONFIG_INVALID
    assert "31415926" not in str(caught.value)
    assert ("has no place in settings" in str(caught.value)) == instead.startswith("pin-value")


@pytest.mark.parametrize(
    ("answer", "said", "may_pass"),
    [
        ("PIN_INCORRECT", r"expected the PIN of the token 'press hall 4' in file:/etc/pin", False),
        ("PIN_LOCKED", r"expected the token 'press hall 4' to take its PIN", True),
        ("DEVICE_REMOVED", r"expected one token labelled 'press hall 4'", True),
        ("GENERAL_ERROR", r"expected the token 'press hall 4' to open, it refused: GENERAL_ERROR", True),
    ],
)
def test_what_a_token_answers_is_the_settings_fault_or_passes(answer: str, said: str, may_pass: bool) -> None:
    fault = token_key(URI).fault(token_fault(answer), answer)
    assert said in fault.message
    assert isinstance(fault, TokenError) == may_pass


def key_with(pin_source: str) -> TokenKey:
    return token_key(URI.replace("file:/etc/pin", pin_source))


def test_the_pin_is_the_first_line_of_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    file = tmp_path / "pin"
    key = key_with(f"file:{file}")
    with pytest.raises(ConfigError, match=f"PIN in {file}, No such file"):
        read_pin(key)
    file.write_text("31415926\nwritten by hand\n")
    file.chmod(0o640)
    with pytest.raises(ConfigError, match=f"{file} with mode 0600, came 0640"):
        read_pin(key)
    file.chmod(0o600)
    assert read_pin(key) == "31415926"
    file.write_text("\n")
    with pytest.raises(ConfigError, match=f"a PIN in {file}, it is empty"):
        read_pin(key)


def test_the_pin_comes_from_systemd_as_a_credential(tmp_path: Path) -> None:
    key = key_with("credential:token-pin")
    assert key.pin_file is None
    with pytest.raises(ConfigError, match=r"credential:token-pin from systemd \(LoadCredential=\)"):
        read_pin(key, {})
    (tmp_path / "token-pin").write_text("31415926")
    # As systemd leaves it for a user who is not root: an access list, which shows as the group's bit.
    (tmp_path / "token-pin").chmod(0o440)
    assert read_pin(key, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "31415926"
