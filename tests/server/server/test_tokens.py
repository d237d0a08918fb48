"""The file of tokens: what it holds, who may read it, how it changes, and what a server makes of it."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path

import pytest

from flujo.kernel.errors import InvalidNameError, InvalidTokensError
from flujo.server.tokens import (
    PREFIX,
    Role,
    TokenFile,
    add_certificate,
    add_token,
    digest_of,
    read_entries,
    revoke,
)


def numbered(number: int) -> str:
    """Random bytes that are none, and differ."""
    return number.to_bytes(4, "big").hex() * 8


@pytest.fixture
def path(folder: Path) -> Path:
    """Where the tokens are."""
    return folder / "deep" / "tokens.json"


def add(path: Path, name: str, number: int, role: Role = Role.VIEWER) -> str:
    """A token that is told from others by a number."""
    return add_token(path, name, role, number, lambda size: bytes.fromhex(numbered(number))[:size])


def test_a_token_is_stored_as_its_digest_only(path: Path) -> None:
    """In a file, and a folder, for its owner alone; the token itself has 256 random bits and is nowhere."""
    sizes: list[int] = []

    def random(size: int) -> bytes:
        sizes.append(size)
        return b"r" * size

    token = add_token(path, "ci", Role.OPERATOR, 7, random)

    assert sizes == [32]
    assert token == PREFIX + "72" * 32
    assert token not in path.read_text()
    assert json.loads(path.read_text())["entries"] == [
        {"name": "ci", "role": "operator", "sha256": digest_of(token), "created_at": 7}
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_server_finds_who_has_a_token_or_a_certificate(path: Path) -> None:
    """And nobody who has neither; a digest is no token."""
    first, second = add(path, "a", 1), add(path, "b", 2, Role.ADMIN)
    add_certificate(path, "ada", Role.OPERATOR, 3)
    tokens = TokenFile(path)

    assert [entry.name for token in (first, second) if (entry := tokens.by_token(token))] == ["a", "b"]
    assert [tokens.by_token(each) for each in ("", "x", digest_of(first), first[:-1], first.upper())] == [None] * 5
    found = tokens.by_names(["nobody", "ada"])
    assert found is not None
    assert (found.name, found.role, found.id) == ("ada", Role.OPERATOR, "certificate")
    assert tokens.by_names(["a"]) is None  # the name of a token is not that of a certificate


def test_tokens_are_rotated_by_their_ids(path: Path) -> None:
    """A second one of the same name is let in beside the first, until that is revoked."""
    old, new = add(path, "ci", 1), add(path, "ci", 2)
    tokens = TokenFile(path)
    assert tokens.by_token(old)
    assert tokens.by_token(new)

    gone = revoke(path, digest_of(old)[:8])

    assert [entry.id for entry in gone] == [digest_of(old)[:8]]
    assert tokens.by_token(old) is None
    assert tokens.by_token(new)
    assert len(revoke(path, "ci")) == 1
    with pytest.raises(InvalidTokensError, match="no token 'ci'"):
        revoke(path, "ci")


def test_a_certificate_has_one_role(path: Path) -> None:
    """The last one that was given."""
    add_certificate(path, "ada", Role.VIEWER, 1)
    add_certificate(path, "ada", Role.ADMIN, 2)

    assert [(entry.name, entry.role) for entry in read_entries(path)] == [("ada", Role.ADMIN)]


@pytest.mark.parametrize("name", ["", " ", "a b", "a\nb", "-", "x" * 101, "é"])
def test_a_name_is_one_word(name: str, path: Path) -> None:
    """It stands in logs and events."""
    with pytest.raises(InvalidNameError):
        add(path, name, 1)
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"format": 2, "entries": []}', '{"format": 1, "entries": [{"name": "a", "role": "root"}]}', "{"],
)
def test_a_file_that_is_none_of_tokens_is_refused(content: str, path: Path) -> None:
    """And not taken for an empty one."""
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text(content)

    with pytest.raises(InvalidTokensError, match=r"tokens\.json"):
        read_entries(path)
    with pytest.raises(InvalidTokensError):
        add(path, "a", 1)
    assert path.read_text() == content


def test_a_file_that_is_missing_is_named_with_what_makes_one(path: Path) -> None:
    """A server without tokens does not start, and one whose tokens go lets nobody in."""
    with pytest.raises(InvalidTokensError) as refused:
        TokenFile(path)
    assert refused.value.hints[0].startswith("flujoctl token create")
    token = add(path, "a", 1)
    tokens = TokenFile(path)
    path.unlink()
    with pytest.raises(InvalidTokensError):
        tokens.by_token(token)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o620])
def test_a_file_that_others_may_open_is_refused(mode: int, path: Path) -> None:
    """Whoever may write to it lets in whom they like."""
    add(path, "a", 1)
    path.chmod(mode)

    with pytest.raises(InvalidTokensError, match="other users") as refused:
        read_entries(path)
    assert refused.value.hints == (f"chmod 600 {path}",)


def test_changes_at_the_same_time_are_all_kept(path: Path) -> None:
    """One at a time changes the file."""
    threads = [threading.Thread(target=add, args=(path, f"n{number}", number)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {entry.name for entry in read_entries(path)} == {f"n{number}" for number in range(20)}


def test_roles_include_each_other() -> None:
    """From reading to forgetting."""
    assert [[role.may(needed) for needed in Role] for role in Role] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_a_token_may_expire(path: Path) -> None:
    """At that instant, not before; one without lasts until it is revoked, and files of before have none."""
    add_token(path, "short", Role.VIEWER, 1, lambda size: b"s" * size, expires_at=10)
    add_token(path, "long", Role.VIEWER, 1, lambda size: b"l" * size)
    add_certificate(path, "ada", Role.VIEWER, 1, expires_at=20)
    short, long, ada = read_entries(path)

    assert [short.is_valid(now) for now in (0, 9, 10, 11)] == [True, True, False, False]
    assert long.is_valid(10**18)
    assert (ada.expires_at, ada.is_valid(20)) == (20, False)
    assert "expires_at" not in json.loads(path.read_text())["entries"][1]
