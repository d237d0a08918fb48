"""Values of secrets in every form that programs give them, and what is left of a text without them."""

from __future__ import annotations

import base64
import json
import shlex
from string import ascii_letters, digits, punctuation
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flujo.workflows.redaction import MASK, Redactor

RESERVED = "!$&'()*+,/:;=?@[]"
SECRET = "s3cret/tökén+'\"\\=a b"


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        f"Authorization: Bearer {SECRET}.",
        SECRET.upper(),
        f"{SECRET.lower()!r} is neither true nor false",
        shlex.quote(SECRET),
        repr(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(json.dumps(SECRET)),
        json.dumps(SECRET).replace("/", "\\/"),
        f"https://example.org/?key={quote(SECRET)}",
        f"https://example.org/?key={quote(SECRET, safe='')}",
        f"https://example.org/?key={quote(SECRET, safe='').lower()}",
        f"https://example.org/?key={quote(SECRET, safe=ascii_letters + digits + punctuation)}",
        f"https://example.org/{quote(SECRET, safe=RESERVED)}",
        f"key={quote_plus(SECRET)}&b=1",
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"{SECRET}\n".encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"ab{SECRET}cd".encode()).decode(),
        base64.urlsafe_b64encode(f"x{SECRET}".encode()).decode(),
    ],
)
def test_a_secret_is_masked_in_each_form(form: str) -> None:
    """Nothing by which it could be told is left."""
    redactor = Redactor([SECRET])
    left = redactor.text(form)

    assert MASK in left
    assert redactor.data(form.encode()).decode() == left
    for length in range(8, len(form)):
        if form[:length] in left:
            assert SECRET[:5] not in form[:length]


def test_each_line_of_a_secret_is_masked_and_so_is_a_trimmed_one() -> None:
    """A key in a file has many lines, and one may be printed alone."""
    lines = ["-----BEGIN KEY-----", "MIIEvQIBADANBgkqhkiG9w0", "short", "-----END KEY-----"]
    redactor = Redactor(["  padded-value \n", "\n".join(lines)])

    assert redactor.text("is padded-value here") == f"is {MASK} here"
    assert redactor.text(f"a {lines[1]} b") == f"a {MASK} b"
    assert redactor.text("a short line") == "a short line"


def test_wrapped_base64_of_a_long_secret_is_masked_by_line() -> None:
    """As `base64` and openssl print it."""
    secret = "".join(chr(33 + (7 * n) % 90) for n in range(300))
    redactor = Redactor([secret])

    for width in (64, 76):
        whole = base64.b64encode(secret.encode()).decode()
        lines = [whole[at : at + width] for at in range(0, len(whole), width)]
        assert [redactor.text(line) for line in lines[:-1]] == [MASK] * (len(lines) - 1)


def test_values_are_masked_wherever_they_are_in_json() -> None:
    """As texts, in keys, as numbers; everything else keeps its type."""
    redactor = Redactor(["12345678", "hidden-word"])

    masked: Any = redactor.value({"hidden-word": [1, 12345678, 1.5, True, None, {"a": "x hidden-word"}], "b": "plain"})

    assert masked == {MASK: [1, MASK, 1.5, True, None, {"a": f"x {MASK}"}], "b": "plain"}


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("said hidd…", f"said {MASK}…"),
        ("said hid…", "said hid…"),
        ("…den-word said", f"…{MASK} said"),
        ("a hidden-w\n[... 12 bytes left out ...]\nword b", f"a {MASK}\n[... 12 bytes left out ...]\n{MASK} b"),
        ("hidden-wor at the end hidden-wor", "hidden-wor at the end hidden-wor"),
    ],
)
def test_what_is_left_of_a_secret_where_a_text_was_cut_is_masked(text: str, left: str) -> None:
    """Four characters and more of its beginning or end, and only at a cut."""
    assert Redactor(["hidden-word"]).text(text) == left


def test_without_secrets_nothing_changes() -> None:
    """Not a text, not the bytes of a log."""
    redactor = Redactor([])

    assert redactor.text("a…") == "a…"
    assert redactor.data(b"a") == b"a"
    assert redactor.value({"a": [1, "b"]}) == {"a": [1, "b"]}


@given(st.text(min_size=8, max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_no_text_around_a_secret_keeps_it(secret: str, before: str, after: str) -> None:
    """Whatever it is made of, and whatever stands around it."""
    redactor = Redactor([secret])

    assert secret not in redactor.text(before + secret + after) or secret in before + MASK + after
    encoded = base64.b64encode((before + secret + after).encode("utf-8", "surrogatepass")).decode()
    if len(secret.strip()) >= 8 and not any("\ud800" <= each <= "\udfff" for each in before + secret + after):
        assert MASK in redactor.text(encoded)
