"""`flujoctl token`: made once, listed without the secret, revoked by id or name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flujo.server.tokens import Role, TokenFile, read_entries

from .conftest import Flujoctl

TOKENS = Path(".flujo/tokens.json")


def test_a_token_is_printed_once_and_let_in(folder: Path, flujoctl: Flujoctl) -> None:
    """Only the token is on stdout, so that it can go into a file."""
    made = flujoctl("token", "create", "ci", "--role", "operator")
    token = made.out.strip()

    entry = TokenFile(folder / TOKENS).by_token(token)
    assert (made.code, len(token)) == (0, len("flujo_") + 64)
    assert entry is not None
    assert (entry.name, entry.role) == ("ci", Role.OPERATOR)
    assert token not in made.err
    listed = flujoctl("token", "list")
    assert token not in listed.out
    assert entry.id in listed.out


def test_two_tokens_differ(flujoctl: Flujoctl, folder: Path) -> None:
    """Also of one name and role."""
    made = {flujoctl("token", "create", "ci", "--role", "viewer").out for _ in range(3)}

    assert len(made) == 3
    assert len(read_entries(folder / TOKENS)) == 3


def test_a_certificate_is_let_in_without_a_token(flujoctl: Flujoctl, folder: Path) -> None:
    """Its name is all that is needed."""
    made = flujoctl("token", "create", "ada", "--role", "admin", "--certificate")

    assert made.out == ""
    assert [(entry.name, entry.role, entry.id) for entry in read_entries(folder / TOKENS)] == [
        ("ada", Role.ADMIN, "certificate")
    ]


def test_what_programs_read(flujoctl: Flujoctl, folder: Path) -> None:
    """JSON holds the token where it is made, and nowhere else."""
    made = json.loads(flujoctl("token", "create", "ci", "--role", "viewer", "--tokens", "t.json", "-o", "json").out)
    listed = json.loads(flujoctl("token", "list", "--tokens", "t.json", "-o", "json").out)

    assert (made["name"], made["role"], made["file"]) == ("ci", "viewer", "t.json")
    assert made["token"].startswith("flujo_")
    assert [sorted(each) for each in listed] == [["created_at", "expired", "expires_at", "id", "name", "role"]]
    assert flujoctl("token", "list", "--tokens", "t.json", "-o", "name").out == "ci\n"


def test_a_token_is_revoked_by_id_or_name(flujoctl: Flujoctl, folder: Path) -> None:
    """And what is not there is said."""
    for name in ("a", "b", "b"):
        flujoctl("token", "create", name, "--role", "viewer")
    first = read_entries(folder / TOKENS)[0]

    assert flujoctl("token", "revoke", first.id).out == f"revoked {first.id} of a\n"
    assert len(flujoctl("token", "revoke", "b", "-o", "name").out.split()) == 2
    gone = flujoctl("token", "revoke", "b")
    assert (gone.code, read_entries(folder / TOKENS)) == (2, [])
    assert "there is no token 'b'" in gone.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("token", "create", "a b", "--role", "viewer"), "is not a valid name"),
        (("token", "create", "a"), "--role"),
        (("token", "create", "a", "--role", "root"), "root"),
        (("token", "list"), "there is no such file"),
        (("token", "revoke", "a"), "there is no token"),
        (("token", "crate"), "create"),
    ],
)
def test_what_is_wrong_is_said(arguments: tuple[str, ...], said: str, flujoctl: Flujoctl) -> None:
    """With what to type instead."""
    ended = flujoctl(*arguments)

    assert ended.code == 2
    assert said in ended.err


@pytest.mark.parametrize("command", [("create", "a", "--role", "viewer"), ("list",), ("revoke", "a")])
@pytest.mark.parametrize("given", ["/", "."])
def test_a_folder_is_no_file_of_tokens(command: tuple[str, ...], given: str, flujoctl: Flujoctl) -> None:
    """Not even the root, which has no name."""
    ended = flujoctl("token", *command, "--tokens", given)

    assert ended.code == 3
    assert ended.err.startswith(f"error[source-not-found]: {given!r} is a folder, not a file\n")


def test_a_token_may_be_for_some_time_only(flujoctl: Flujoctl, folder: Path) -> None:
    """The list says until when, and which have expired; what is no time is refused before a token is made."""
    short = flujoctl("token", "create", "ci", "--role", "viewer", "--tokens", "t.json", "--expires", "0s")
    long = flujoctl("token", "create", "bob", "--role", "viewer", "--tokens", "t.json", "--expires", "90d")
    wrong = flujoctl("token", "create", "eve", "--role", "viewer", "--tokens", "t.json", "--expires", "soon")
    listed = flujoctl("token", "list", "--tokens", "t.json").out.splitlines()

    assert (short.code, long.code, wrong.code) == (0, 0, 2)
    assert " until 2" in long.err
    assert ["  expired 2" in line for line in listed] == [True, False]
    assert "  expires 2" in listed[1]
