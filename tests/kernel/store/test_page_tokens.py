"""Page tokens are read as they were written, and nothing else is read."""

from __future__ import annotations

from base64 import urlsafe_b64encode

import pytest

from flujo.kernel.backend import page_token_content, page_token_of


def test_a_token_holds_what_was_put_into_it() -> None:
    """Texts in any letters, and numbers as large as a database has them."""
    content: list[str | int] = ["größe", 0, -1, 2**63 - 1, ""]

    assert page_token_content(page_token_of(content)) == content


NO_LISTS = (
    *("null", "1", "true", "{}", '"abc"', "[true]", "[null]", "[1.5]", "[[]]", "[1e400]", ""),
    *("[9223372036854775808]", "[" + "1" * 9_999 + "]", "[" * 99_999),
)


@pytest.mark.parametrize("text", NO_LISTS, ids=lambda text: text[:12])
def test_what_is_no_list_of_texts_and_numbers_is_refused(text: str) -> None:
    """With one kind of error, whatever JSON it is."""
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever decoder
        page_token_content(urlsafe_b64encode(text.encode()).decode())


@pytest.mark.parametrize("token", ["x", "====", "é", "\ud800", "AAAA", " "])
def test_what_is_no_token_is_refused(token: str) -> None:
    """Also what cannot be encoded."""
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever decoder
        page_token_content(token)
