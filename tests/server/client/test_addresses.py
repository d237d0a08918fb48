"""Where a server listens, as people write it."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import pytest

from flujo.client.addresses import LONGEST_PATH, ServerAddress
from flujo.kernel.errors import InvalidAddressError


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("unix:/run/flujo/s", "/run/flujo/s"),
        ("unix:///run/flujo/s", "/run/flujo/s"),
        ("unix:s", "{here}/s"),
        ("unix:.flujo/server.sock", "{here}/.flujo/server.sock"),
        ("unix:~/s", "{home}/s"),
        ("unix:a:b", "{here}/a:b"),
    ],
)
def test_an_address_names_a_file(text: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the forms that gRPC knows; a relative path counts from the working directory."""
    monkeypatch.setenv("HOME", "/home/ann")
    parsed = ServerAddress.parse(text)

    assert str(parsed.path) == path.format(here=os.getcwd(), home="/home/ann")
    assert parsed.text == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "/run/s",
        "tcp:localhost:1",
        "localhost",
        "host:65536",
        "tcp://[x]:1",
        "tcp://[12]:1",
        "unix:",
        "unix://s",
        "unix:a\0b",
        "http://x",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    """The message says what one looks like."""
    with pytest.raises(InvalidAddressError) as refused:
        ServerAddress.parse(text)

    assert refused.value.address == text
    assert "unix:PATH" in refused.value.hints[0]


@pytest.mark.parametrize(
    ("text", "target", "is_local"),
    [
        ("tcp://127.0.0.1:7777", "127.0.0.1:7777", True),
        ("127.8.9.1:7777", "127.8.9.1:7777", True),
        ("localhost:50051", "localhost:50051", True),
        ("tcp://[::1]:1/", "[::1]:1", True),
        ("[::]:1", "[::]:1", False),
        ("0.0.0.0:80", "0.0.0.0:80", False),
        ("tcp://runs.example.org:7777", "runs.example.org:7777", False),
        ("localhost.example.org:1", "localhost.example.org:1", False),
    ],
)
def test_an_address_names_a_port(text: str, target: str, is_local: bool) -> None:
    """With or without its scheme; a name is local only if every machine takes it for itself."""
    parsed = ServerAddress.parse(text)

    assert (parsed.text, parsed.target, parsed.path, parsed.is_local) == (text, target, None, is_local)


def test_a_path_is_used_as_it_is_while_it_fits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it means the same after the working directory has changed, or is gone."""
    monkeypatch.chdir(folder)

    assert ServerAddress.parse("unix:s").target == f"unix:{folder}/s"


def test_a_path_that_is_too_long_is_taken_from_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is short enough then; otherwise the message says how long it may be, in bytes."""
    deep = folder / ("d" * 100)
    deep.mkdir()
    address = ServerAddress.parse(f"unix:{deep}/s")
    with pytest.raises(InvalidAddressError, match=f"at most {LONGEST_PATH} bytes"):
        address.target
    monkeypatch.chdir(deep)
    assert address.target == "unix:s"

    monkeypatch.chdir("/")
    fits = folder / ("é" * ((LONGEST_PATH - len(str(folder)) - 1) // 2))
    assert unquote(ServerAddress.parse(f"unix:{fits}").target) == f"unix:{fits}"
    with pytest.raises(InvalidAddressError):
        ServerAddress.parse(f"unix:{fits}éé").target
