"""What a client shows a server is checked before anything is sent."""

from __future__ import annotations

import pytest

from flujo.client import Client, Credentials
from flujo.kernel.errors import InvalidTokensError


@pytest.mark.parametrize("token", ["secret\n", "sécret", "a secret", "secret\x00"])
@pytest.mark.parametrize("address", ["unix:s", "tcp://[::1]:7777"])
async def test_a_token_that_makes_no_header_is_refused_without_being_shown(address: str, token: str) -> None:
    """gRPC raised an error of its own with the first call, and logged a trace (as of a token read with its newline)."""
    with pytest.raises(InvalidTokensError, match="visible ASCII") as refused:
        async with Client(address, credentials=Credentials(token)):
            pytest.fail("the token was taken")

    assert "cret" not in str(refused.value)
    assert "strip the end of the line" in str(refused.value)


async def test_a_token_of_visible_characters_is_taken() -> None:
    async with Client("unix:s", credentials=Credentials("flujo_!~'\"")):
        pass
