"""One exchange over HTTP: a request, its redirects, and an answer of bounded size. What it is made of comes from
`http_request.py`.

The host of each hop is resolved and judged here, and the connection is made to the address that was judged. What is
said of a URL in errors and logs has neither a password nor the values of a query.
"""

from __future__ import annotations

import socket
import ssl
import zlib
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import anyio

from flujo.kernel.errors import FlujoError
from flujo.workflows.http_rules import Rules

if TYPE_CHECKING:
    import httpx

_REDIRECTS = (301, 302, 303, 307, 308)
_OF_THE_BODY = ("content-type", "content-length", "content-encoding", "transfer-encoding")
_OF_THE_ORIGIN = ("authorization", "cookie", "proxy-authorization")
"""Headers that are for the host they were written for, and for no other."""


class ResponseTooLargeError(FlujoError, ValueError):
    """An answer is larger than its request allows."""

    reason = "INVALID_FIELD"
    type = "ResponseTooLargeError"

    def __init__(self, where: str, limit: int) -> None:
        super().__init__(
            f"{where}: the answer is larger than {limit:,} bytes; allow more with `max_size`, "
            "or send it to a file with `output`"
        )


class RedirectError(FlujoError, ValueError):
    """An answer leads elsewhere too often, or to what is no place."""

    reason = "STEP_FAILED"
    type = "RedirectError"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is sent. `url` has no password; `own_headers` are those that are not sent to another host than this one."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    body: bytes | None = None
    own_headers: frozenset[str] = frozenset()

    @property
    def where(self) -> str:
        """Return method and URL as errors and logs show them."""
        return f"{self.method} {shown(self.url)}"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back; its body went to `receive`."""

    status: int
    reason: str
    headers: dict[str, str]
    url: httpx.URL
    size: int


def shown(url: httpx.URL) -> str:
    """Return a URL without user, password and the values of its query."""
    plain = url.copy_with(userinfo=b"", query=None, fragment=None)
    return f"{plain}?…" if url.query else str(plain)


async def exchange(
    request: Request,
    receive: Callable[[bytes], None],
    *,
    rules: Rules,
    max_redirects: int,
    max_size: int,
    verify: bool,
    proxy: str | None = None,
) -> Answer:
    """Send a request, follow its redirects, and hand the body of the last answer to `receive` as it comes.

    Raises ConnectionError and TimeoutError for what the network does, RedirectError, ResponseTooLargeError and
    AddressRefusedError. A `proxy` is asked by the name of the host, whose addresses are judged nevertheless if there
    are rules about them."""
    import httpx

    first = request
    async with httpx.AsyncHTTPTransport(verify=tls(verify), trust_env=False, proxy=_proxy(proxy)) as transport:
        for _ in range(max_redirects + 1):
            response = await _sent(transport, request, rules, is_proxied=proxy is not None)
            try:
                if (following := _redirected(request, response)) is not None and max_redirects > 0:
                    request = following
                    continue
                size = await _receive(response, request, receive, max_size)
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
            reason = response.extensions.get("reason_phrase", b"").decode("ascii", "replace")
            headers = {name: value for name, value in response.headers.items() if name != "set-cookie"}
            cookies = response.headers.get_list("set-cookie")
            return Answer(
                status=response.status_code,
                reason=reason,
                headers={**headers, **({"set-cookie": "\n".join(cookies)} if cookies else {})},
                url=request.url,
                size=size,
            )
    at_last = f"at last to {shown(request.url)}"
    raise RedirectError(f"{first.where} was redirected more than {max_redirects} times, {at_last}")


@lru_cache(maxsize=2)
def tls(verify: bool) -> ssl.SSLContext:
    """Return the settings of encrypted connections, with the certificates that this system trusts."""
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


# -- one hop ----------------------------------------------------------------------------------------------------------


def _proxy(url: str | None) -> httpx.Proxy | None:
    """Return a proxy; raises ValueError, which does not repeat the password it may have."""
    import httpx

    try:
        return None if url is None else httpx.Proxy(url)
    except (httpx.InvalidURL, ValueError):
        raise ValueError("`proxy` must be a URL such as http://proxy.example.org:3128") from None


async def _sent(
    transport: httpx.AsyncHTTPTransport, request: Request, rules: Rules, *, is_proxied: bool
) -> httpx.Response:
    """Send one request to the first address of its host that takes it, or by a proxy to the host."""
    import httpx

    host = request.url.host
    rules.check_host(host)
    failure: Exception | None = None
    addresses = await _addresses(request, rules, is_proxied=is_proxied)
    for address in addresses:
        headers = [(b"Host", request.url.netloc)]
        headers += [(name.encode("ascii"), value.encode()) for name, value in request.headers.items()]
        sent = httpx.Request(
            request.method,
            request.url.copy_with(host=address, fragment=None),
            headers=headers,
            content=request.body,
            extensions={"sni_hostname": host},
        )
        try:
            return await transport.handle_async_request(sent)
        except httpx.ConnectError as error:
            failure = error
        except httpx.TransportError as error:
            raise _meant(error, request) from error
    assert failure is not None
    raise _meant(failure, request) from failure


async def _addresses(request: Request, rules: Rules, *, is_proxied: bool) -> list[str]:
    """Return the addresses of a host, every one of which is allowed. A proxy takes the host itself: its name is looked
    up only when no private address may be reached, and what is no name is judged in any case."""
    host, port = request.url.host, request.url.port or (443 if request.url.scheme == "https" else 80)
    by_number = is_proxied and rules.private is not False
    try:
        flags = socket.AI_NUMERICHOST if by_number else 0
        found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except (OSError, UnicodeError) as error:
        if by_number:
            return [host]
        raise ConnectionError(f"{request.where}: the host {host} cannot be found ({_reason(error)})") from error
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    for address in addresses:
        rules.check_address(host, address)
    return [host] if is_proxied else addresses


def _meant(error: Exception, request: Request) -> Exception:
    """Return an error of the network as the built-in one it means."""
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return TimeoutError(f"{request.where} took too long")
    if isinstance(error, httpx.LocalProtocolError):
        return ValueError(f"{request.where}: the request cannot be sent as it is: {error}")
    what = "cannot connect" if isinstance(error, httpx.ConnectError) else "the connection was lost"
    return ConnectionError(f"{request.where}: {what} ({_reason(error)})")


def _reason(error: BaseException) -> str:
    """Return what is at the bottom of an error, since what stands above it often says nothing."""
    text = str(error)
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
        text = str(error) or text
    return text or type(error).__name__


def _redirected(request: Request, response: httpx.Response) -> Request | None:
    """Return what an answer asks to be sent next; None for one that is no redirect."""
    import httpx

    place = response.headers.get("location")
    if response.status_code not in _REDIRECTS or place is None:
        return None
    try:
        url = request.url.join(place)
        is_place = url.scheme in ("http", "https") and bool(url.host)
    except (httpx.InvalidURL, ValueError):
        is_place = False
    if not is_place:
        raise RedirectError(f"{request.where} was redirected to what is no address of the web")
    headers = dict(request.headers)
    same_origin = (url.scheme, url.host, url.port) == (request.url.scheme, request.url.host, request.url.port)
    if not same_origin:
        dropped = {*_OF_THE_ORIGIN, *request.own_headers}
        headers = {name: value for name, value in headers.items() if name.lower() not in dropped}
    becomes_get = response.status_code == 303 or (response.status_code in (301, 302) and request.method == "POST")
    following = replace(request, url=url.copy_with(userinfo=b""), headers=headers)
    if not becomes_get or request.method == "HEAD":
        return following
    headers = {name: value for name, value in headers.items() if name.lower() not in _OF_THE_BODY}
    return replace(following, method="GET", body=None, headers=headers)


# -- the answer -------------------------------------------------------------------------------------------------------


async def _receive(response: httpx.Response, request: Request, receive: Callable[[bytes], None], max_size: int) -> int:
    """Hand the body on, decoded; returns its size."""
    import httpx

    size = 0
    try:
        async with aclosing(_decoded(response, request)) as chunks:
            async for chunk in chunks:
                size += len(chunk)
                if size > max_size:
                    raise ResponseTooLargeError(request.where, max_size)
                receive(chunk)
    except httpx.TransportError as error:
        raise _meant(error, request) from error
    return size


_CHUNK = 64 * 1024


async def _decoded(response: httpx.Response, request: Request) -> AsyncGenerator[bytes, None]:
    """Yield the body as it was before it was compressed, never more than a chunk at once: a small answer can stand for
    a very large one."""
    stream: Any = response.stream
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        async for chunk in stream:
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"{request.where}: the answer is encoded as {encoding}, which was not asked for")
    unpack = zlib.decompressobj(47)  # either of the two, by what it begins with
    try:
        async for chunk in stream:
            while chunk:
                yield unpack.decompress(chunk, _CHUNK)
                chunk = unpack.unconsumed_tail
        yield unpack.flush()
    except zlib.error as error:
        raise ConnectionError(f"{request.where}: the answer cannot be unpacked ({error})") from error
