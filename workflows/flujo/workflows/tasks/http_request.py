"""The task `http.request`: ask a server, on httpx, which is installed with `flujoctl[http]`.

An answer of 400 and more fails the step with HTTPStatusError, which retry rules know by its status too (`on_status`); a
`Retry-After` of it is kept. A cancel ends the exchange at any moment.
"""

from __future__ import annotations

import base64
import email.utils
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import anyio

from flujo.kernel.durations import format_duration, parse_duration
from flujo.kernel.errors import FlujoError
from flujo.workflows.blocking import may_block
from flujo.workflows.http_rules import problem_with_url, rules_of
from flujo.workflows.registry import TaskCall, task
from flujo.workflows.statuses import is_among, status_patterns
from flujo.workflows.texts import as_text

from .files import confined, opened
from .http_exchange import Answer, Request, exchange, shown, tls
from .output_files import OutputFiles

if TYPE_CHECKING:
    import httpx

MAX_SIZE = 5 * 1024 * 1024
MAX_FILE_SIZE = 1024 * 1024 * 1024
"""Bytes of an answer that is a result, and of one that goes to a file, unless `max_size` says otherwise."""

MAX_SHOWN = 500
"""Characters of an answer that an error shows."""

MAX_SENT = 64 * 1024 * 1024
"""Bytes of a file that is sent: it is held in memory, since a redirect may ask for it once more."""

MAX_RETRY_AFTER = 365 * 86_400.0
"""Seconds that a server may ask to be left alone; one that asks for more means for ever."""

_METHOD = re.compile(r"[A-Z]{1,20}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")


class HTTPStatusError(FlujoError):
    """A server has answered with a status that is none of success. Retry rules know it by its status as well:
    `HTTPStatus503` and `HTTPStatus5xx`."""

    reason = "STEP_FAILED"
    type = "HTTPStatusError"

    def __init__(self, where: str, answer: Answer, body: str, retry_after_seconds: float | None) -> None:
        said = f": {body}" if body else ""
        told = f"{where} answered {answer.status} {answer.reason}".rstrip()
        if retry_after_seconds:
            told += f"; it asks not to be tried again for {format_duration(retry_after_seconds)}"
        super().__init__(told + said)
        self.status = answer.status
        self.retry_after_seconds = retry_after_seconds


@lru_cache(maxsize=256)
def status_error(status: int) -> type[HTTPStatusError]:
    """Return the class of the error for a status, by which `on_status` knows it."""
    family = type(f"HTTPStatus{status // 100}xx", (HTTPStatusError,), {"__module__": __name__})
    return type(f"HTTPStatus{status}", (family,), {"__module__": __name__})


_BODIES = ("json", "data", "body", "body_file")

INPUTS: dict[str, dict[str, Any]] = {
    "url": {"type": "string", "required": True, "minLength": 1},
    "method": {"type": "string"},
    "params": {"type": "object", "default": {}},
    "headers": {"type": "object", "default": {}},
    "json": {},
    "data": {"type": ["object", "string"]},
    "body": {"type": ["string", "object", "array"]},
    "body_file": {"type": "string", "minLength": 1},
    "auth": {"type": "object"},
    "token": {"type": "string", "minLength": 1},
    "timeout": {"type": ["string", "number"], "format": "duration", "default": 30},
    "max_redirects": {"type": "integer", "minimum": 0, "maximum": 50, "default": 10},
    "max_size": {"type": "integer", "minimum": 0},
    "output": {"type": "string", "minLength": 1},
    "ok_status": {"type": ["array", "integer", "string"], "default": []},
    "check": {"type": "boolean", "default": True},
    "verify": {"type": "boolean", "default": True},
    "proxy": {"type": "string", "minLength": 1},
}
RESULT = {
    "type": "object",
    "properties": {
        "status_code": {"type": "integer"},
        "headers": {"type": "object"},
        "body": {"type": ["string", "null"]},
        "body_base64": {"type": "string"},
        "json": {},
        "url": {"type": "string"},
        "size": {"type": "integer"},
        "path": {"type": "string"},
    },
}


def _check(inputs: Mapping[str, Any]) -> dict[str, str]:
    """Tell of inputs that cannot be sent."""
    found: dict[str, str] = {}
    bodies = [name for name in _BODIES if name in inputs]
    if len(bodies) > 1:
        found[bodies[1]] = f"does not go with `{bodies[0]}`: a request has one body"
    if not _METHOD.fullmatch(str(inputs.get("method", "GET")).upper()):
        found["method"] = "must be a method such as GET or POST"
    if (problem := problem_with_url(inputs.get("url"))) is not None:
        found["url"] = problem
    if isinstance(problem := _problem(partial(status_patterns, inputs.get("ok_status", []))), str):
        found["ok_status"] = problem
    if inputs.get("check") is False and inputs.get("ok_status"):
        found["ok_status"] = "does nothing beside `check: false`, with which no status is a failure"
    if isinstance(problem := _problem(partial(_authorization, inputs.get("auth"), None, {})), str):
        found["auth"] = problem
    return found


def _problem(work: Callable[[], Any]) -> str | None:
    try:
        work()
    except ValueError as error:
        return str(error)
    except LookupError:  # a variable, which may be there when the step runs
        return None
    return None


@task(
    "http.request",
    inputs=INPUTS,
    spellings={"output_file": "output", "save_to": "output", "verify_ssl": "verify"},
    check=_check,
    result=RESULT,
)
async def http_request(call: TaskCall) -> dict[str, Any]:
    """Ask a server; return {status_code, headers, body, json, url, size}, with `output` {path} instead of the body."""
    return await ask(call, call.inputs)


async def ask(call: TaskCall, given: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out a request that is described by the inputs of `http.request`; raises what that does."""
    if wrong := _check({name: value for name, value in given.items() if name != "url"}):  # `_url` shows what it is
        raise ValueError("; ".join(f"`{name}` {problem}" for name, problem in wrong.items()))
    await may_block(lambda _: (import_module("httpx"), tls(given["verify"])))  # a tenth of a second, the first time
    content = None
    if "body_file" in given:
        content = await may_block(lambda _: _content(confined(given["body_file"], call.workspace, allow_outside=False)))
    request = _request(call, given, content)
    seconds = parse_duration(given["timeout"])
    rules = rules_of(call.context.get("settings", {}), os.environ)
    with ExitStack() as stack:
        body = bytearray()
        files, limit, receive = None, MAX_SIZE, body.extend
        if "output" in given:
            place = confined(given["output"], call.workspace, allow_outside=False)
            files, limit = stack.enter_context(OutputFiles({"body": place})), MAX_FILE_SIZE
            receive = partial(files.receive, "body")
        with anyio.move_on_after(seconds) as patience:
            answer = await exchange(
                request,
                receive if files is None else _first_of(receive, body),
                rules=rules,
                max_redirects=given["max_redirects"],
                max_size=given.get("max_size", limit),
                verify=given["verify"],
                proxy=given.get("proxy"),
            )
        if patience.cancelled_caught:
            raise TimeoutError(f"{request.where} took longer than {format_duration(seconds)}")
        call.log.write(f"{request.where} {answer.status} {answer.reason} ({answer.size:,} bytes)")
        if given["check"] and answer.status >= 400 and not is_among(answer.status, status_patterns(given["ok_status"])):
            raise _failure(request, answer, bytes(body))
        told = {"status_code": answer.status, "headers": answer.headers, "url": shown(answer.url), "size": answer.size}
        if files is None:
            return {**told, **_read(bytes(body), answer.headers.get("content-type", ""))}
        await files.appear()
        return {**told, "path": str(place)}


def _first_of(receive: Callable[[bytes], None], kept: bytearray) -> Callable[[bytes], None]:
    """Return what keeps the first bytes besides, for the message of an error."""

    def receive_both(chunk: bytes) -> None:
        kept.extend(chunk[: max(0, 4 * MAX_SHOWN - len(kept))])
        receive(chunk)

    return receive_both


# -- the request ------------------------------------------------------------------------------------------------------


def _request(call: TaskCall, given: Mapping[str, Any], content: bytes | None) -> Request:
    """Return what is sent; raises ValueError, which repeats no value, since any may be a secret. `content` is that of a
    file."""
    url = _url(given["url"], given["params"])
    kind, body = _body(given) if content is None else ("application/octet-stream", content)
    headers = {name: _header(name, value) for name, value in given["headers"].items()}
    own = {name.lower() for name in headers}
    added = {"Accept": "*/*", "Accept-Encoding": "gzip, deflate", "User-Agent": "flujo"}
    if kind is not None:
        added["Content-Type"] = kind
    method = str(given.get("method") or ("GET" if body is None else "POST")).upper()
    if method not in ("GET", "HEAD", "OPTIONS"):
        added["Idempotency-Key"] = call.attempt.idempotency_key
    name, value = _authorization(given.get("auth"), given.get("token"), os.environ) or _of_url(url) or ("", "")
    if name:
        added[name] = _header(name, value)
    complete = {**{name: value for name, value in added.items() if name.lower() not in own}, **headers}
    plain = url.copy_with(userinfo=b"")
    return Request(method=method, url=plain, headers=complete, body=body, own_headers=frozenset(own | {name.lower()}))


def _url(text: str, params: Mapping[str, Any]) -> httpx.URL:
    import httpx

    try:
        url = httpx.URL(text.strip())
    except httpx.InvalidURL as error:
        raise ValueError(f"`url` is not a URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"`url` must begin with http:// or https:// and name a host, not {shown(url)}")
    if not params:
        return url
    pairs = [(name, _texts(value)) for name, value in params.items()]
    return url.copy_merge_params(dict(pairs))


def _texts(value: Any) -> str | list[str]:
    return [as_text(each) for each in value] if isinstance(value, list) else as_text(value)


def _content(path: Path) -> bytes:
    """Return what is in a file; raises ValueError for one that is too large to be sent."""
    with opened(path) as file:
        content = file.read(MAX_SENT + 1)
    if len(content) > MAX_SENT:
        raise ValueError(f"{path} is larger than {MAX_SENT // 1024 // 1024} MiB, which is the most that is sent")
    return content


def _body(given: Mapping[str, Any]) -> tuple[str | None, bytes | None]:
    """Return the type of the body and the body."""
    body = given.get("body")
    if "json" in given or isinstance(body, (dict, list)):
        text = json.dumps(given.get("json", body), ensure_ascii=False, allow_nan=False)
        return "application/json", text.encode()
    data = given.get("data", body)
    if isinstance(data, Mapping):
        fields = {name: _texts(value) for name, value in data.items()}
        return "application/x-www-form-urlencoded", urlencode(fields, doseq=True).encode()
    return (None, None) if data is None else ("text/plain; charset=utf-8", str(data).encode())


def _header(name: str, value: Any) -> str:
    """Return a header's value as httpx takes it."""
    text = as_text(value)
    if not _HEADER_NAME.fullmatch(name):
        raise ValueError(f"{name[:60]!r} is not the name of a header")
    if not _HEADER_VALUE.fullmatch(text):
        raise ValueError(f"the header `{name}` has a line break, or another character that a header cannot have")
    return text.strip()


def _authorization(auth: Any, token: str | None, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the header by which a request says who sends it."""
    if auth is None:
        return None if token is None else ("Authorization", f"Bearer {token}")
    match auth:
        case {"type": "bearer", "token": given, **rest} if not rest:
            return "Authorization", f"Bearer {_credential(given, 'token')}"
        case {"type": "bearer", "token_env": str(variable), **rest} if not rest:
            if variable not in environment:
                raise LookupError(f"the environment variable {variable}, which `token_env` names, is not set")
            return "Authorization", f"Bearer {environment[variable]}"
        case {"type": "basic", "username": user, "password": password, **rest} if not rest:
            return _basic(_credential(user, "username"), _credential(password, "password"))
        case {"type": "api_key", "key": key, **rest} if rest.keys() <= {"header"}:
            return _credential(rest.get("header", "X-API-Key"), "header"), _credential(key, "key")
    raise ValueError(
        "must be {type: bearer, token: …}, {type: bearer, token_env: NAME}, {type: basic, username: …, password: …} "
        "or {type: api_key, key: …, header: X-API-Key}"
    )


def _credential(value: Any, name: str) -> str:
    """Return a part of `auth` as text; raises ValueError for what is none, and repeats no value."""
    if isinstance(value, (str, int, float)):
        return as_text(value)
    raise ValueError(f"needs a text as `{name}`, and it is {'null' if value is None else 'a list or a mapping'}")


def _of_url(url: httpx.URL) -> tuple[str, str] | None:
    return _basic(url.username, url.password) if url.userinfo else None


def _basic(user: str, password: str) -> tuple[str, str]:
    return "Authorization", "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


# -- the answer -------------------------------------------------------------------------------------------------------


def _failure(request: Request, answer: Answer, body: bytes) -> HTTPStatusError:
    text = " ".join(body[: 4 * MAX_SHOWN].decode(errors="replace").split())
    text = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return status_error(answer.status)(request.where, answer, text, retry_after_seconds(answer.headers))


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return how long a server asks to be left alone: seconds, or an instant seen from its own `Date`."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}", value):
        return min(float(value), MAX_RETRY_AFTER)
    try:
        until = email.utils.parsedate_to_datetime(value)
        now = email.utils.parsedate_to_datetime(headers["date"])
        return min(max(0.0, (until - now).total_seconds()), MAX_RETRY_AFTER)
    except (KeyError, ValueError, TypeError):
        return None


def _read(body: bytes, content_type: str) -> dict[str, Any]:
    """Return a body as the result has it: as a text, as bytes in base64 if it is none, and as JSON if it is that."""
    charset = re.search(r"charset=\"?([\w-]+)", content_type, re.IGNORECASE)
    try:
        text = body.decode(charset[1] if charset else "utf-8")
    except (UnicodeDecodeError, LookupError):
        return {"body": None, "body_base64": base64.b64encode(body).decode(), "json": None}
    return {"body": text, "json": _json(text) if "json" in content_type.lower() or text[:1] in "{[" else None}


def _json(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse) if text else None
    except (ValueError, RecursionError):
        return None


def _refuse(constant: str) -> Any:
    raise ValueError(constant)
