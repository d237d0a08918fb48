"""http.request against a real server on a loopback socket, run by `flujoctl run`."""

from __future__ import annotations

import base64
import gzip
import importlib.util
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest

from cli.conftest import Flujoctl
from flujo.workflows.tasks.http_exchange import tls
from workflows.tasks.conftest import Runs
from workflows.tasks.local_server import LocalServer, Reply, serving


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serving() as local:
        yield local


def step(inputs: dict[str, Any], **more: Any) -> str:
    """The step `ask`, which sends a request."""
    return f"- {json.dumps({'name': 'ask', 'task': 'http.request', 'inputs': inputs, **more})}"


def test_an_answer_is_the_result(server: LocalServer, runs: Runs) -> None:
    """Its status, headers and body; JSON also as the value it is."""
    server.answer("/a", Reply(200, b'{"n": [1, "\xc3\xab"]}', (("Content-Type", "application/json"), ("X-A", "1"))))

    result = runs.results(step({"url": f"{server.url}/a", "params": {"q": "a b", "n": [1, True]}}))["ask"]

    assert (result["status_code"], result["body"]) == (200, '{"n": [1, "ë"]}')
    assert result["json"] == {"n": [1, "ë"]}
    assert result["headers"]["x-a"] == "1"
    assert result["size"] == 16
    assert (server.seen[0].method, server.seen[0].path) == ("GET", "/a?q=a+b&n=1&n=true")
    assert "q=" not in result["url"]


@pytest.mark.parametrize(
    ("body", "kind", "sent"),
    [
        ({"json": {"a": [1, None]}}, "application/json", b'{"a": [1, null]}'),
        ({"body": {"a": 1}}, "application/json", b'{"a": 1}'),
        ({"body": "Zoë"}, "text/plain; charset=utf-8", "Zoë".encode()),
        ({"data": {"a": "x y", "b": [1, True]}}, "application/x-www-form-urlencoded", b"a=x+y&b=1&b=true"),
        ({"data": "raw", "headers": {"content-type": "text/csv"}}, "text/csv", b"raw"),
    ],
)
def test_a_body_is_sent_in_its_form(
    body: dict[str, Any], kind: str, sent: bytes, server: LocalServer, runs: Runs
) -> None:
    """By POST, unless another method is given; with a key by which a repeat is known."""
    server.answer("/a", Reply())

    runs.results(step({"url": f"{server.url}/a", **body}))

    seen = server.seen[0]
    assert (seen.method, seen.headers["content-type"], seen.body) == ("POST", kind, sent)
    assert seen.headers["idempotency-key"] == "r/ask@1"


def test_a_file_of_the_workspace_is_sent(server: LocalServer, runs: Runs) -> None:
    """As it is, to every place that a redirect leads to; one outside of the workspace is not."""
    runs.workspace.mkdir(parents=True)
    (runs.workspace / "a.bin").write_bytes(b"\x00\xff")
    server.answer("/a", Reply(307, b"", (("Location", "/b"),)))
    server.answer("/b", Reply())

    runs.results(step({"url": f"{server.url}/a", "body_file": "a.bin", "method": "PUT"}))
    runs.flujoctl("delete", "r", "--yes")
    error = runs.error(step({"url": f"{server.url}/a", "body_file": "/etc/hostname"}))

    assert [(seen.method, seen.body) for seen in server.seen] == [("PUT", b"\x00\xff")] * 2
    assert server.seen[0].headers["content-type"] == "application/octet-stream"
    assert error[0] == "OutsideWorkspaceError"


@pytest.mark.parametrize(
    ("inputs", "header", "value"),
    [
        ({"auth": {"type": "bearer", "token": "abc"}}, "authorization", "Bearer abc"),
        ({"token": "abc"}, "authorization", "Bearer abc"),
        ({"auth": {"type": "bearer", "token_env": "MY_TOKEN"}}, "authorization", "Bearer from-env"),
        (
            {"auth": {"type": "basic", "username": "ada", "password": "p:w"}},
            "authorization",
            f"Basic {base64.b64encode(b'ada:p:w').decode()}",
        ),
        ({"auth": {"type": "api_key", "key": "abc"}}, "x-api-key", "abc"),
        ({"auth": {"type": "api_key", "key": "abc", "header": "X-Other"}}, "x-other", "abc"),
    ],
)
def test_a_request_says_who_sends_it(
    inputs: dict[str, Any], header: str, value: str, server: LocalServer, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each way that servers ask for."""
    monkeypatch.setenv("MY_TOKEN", "from-env")
    server.answer("/a", Reply())

    runs.results(step({"url": f"{server.url}/a", **inputs}))

    assert server.seen[0].headers[header] == value


def test_a_password_in_a_url_is_sent_and_not_shown(server: LocalServer, runs: Runs) -> None:
    """Neither in the error nor in the log; values of a query are not shown either."""
    url = f"http://ada:hidden-word@127.0.0.1:{server.port}/no?key=hidden-key"

    type, message = runs.error(step({"url": url}))

    sent = base64.b64decode(server.seen[0].headers["authorization"].removeprefix("Basic "))
    assert sent == b"ada:hidden-word"
    assert (type, message) == ("HTTPStatusError", f"GET {server.url}/no?… answered 404 Not Found: nothing here")
    assert "hidden" not in runs.log()
    assert "hidden" not in json.dumps(runs.state())


def test_bytes_that_are_no_text_come_in_base64(server: LocalServer, runs: Runs) -> None:
    """Nothing of them is lost."""
    server.answer("/a", Reply(200, b"\xff\x00"))

    result = runs.results(step({"url": f"{server.url}/a"}))["ask"]

    assert (result["body"], result["body_base64"]) == (None, base64.b64encode(b"\xff\x00").decode())


def test_a_charset_is_heeded(server: LocalServer, runs: Runs) -> None:
    """Not all the world is UTF-8."""
    server.answer("/a", Reply(200, "Zoë".encode("latin-1"), (("Content-Type", "text/plain; charset=latin-1"),)))

    assert runs.results(step({"url": f"{server.url}/a"}))["ask"]["body"] == "Zoë"


def test_a_body_goes_to_a_file_in_the_workspace(server: LocalServer, runs: Runs) -> None:
    """As a whole, with its bytes as they came; the result has its path instead."""
    server.answer("/a", Reply(200, bytes(range(256)) * 40))

    result = runs.results(step({"url": f"{server.url}/a", "output": "in/data.bin"}))["ask"]

    assert (runs.workspace / "in/data.bin").read_bytes() == bytes(range(256)) * 40
    assert (result["path"], result["size"]) == (str(runs.workspace / "in/data.bin"), 10240)
    assert "body" not in result


def test_a_file_is_left_alone_when_the_request_fails(server: LocalServer, runs: Runs) -> None:
    """And nothing lies beside it; the error shows what the server said."""
    (runs.workspace / "in").mkdir(parents=True)
    (runs.workspace / "in/data").write_text("of yesterday")
    server.answer("/a", Reply(500, b"out of order"))

    _, message = runs.error(step({"url": f"{server.url}/a", "output": "in/data"}))

    assert message.endswith("answered 500 Internal Server Error: out of order")
    assert [path.read_text() for path in (runs.workspace / "in").iterdir()] == ["of yesterday"]


@pytest.mark.parametrize("inputs", [{"ok_status": [404]}, {"ok_status": "4xx"}, {"check": False}])
def test_status_and_body_of_a_refusal_are_read_when_that_is_wanted(
    inputs: dict[str, Any], server: LocalServer, runs: Runs
) -> None:
    """Then it is a result as any other."""
    result = runs.results(step({"url": f"{server.url}/nowhere", **inputs}))["ask"]

    assert (result["status_code"], result["body"]) == (404, "nothing here")


def test_what_a_server_said_is_told_to_those_who_go_on(server: LocalServer, runs: Runs) -> None:
    """Status and body stand in the message."""
    server.answer("/a", Reply(422, b'{"error": "too long"}'))

    after = "{name: after, task: echo, inputs: {message: '{{ steps.ask.error.type }}: {{ error.message }}'}}"

    results = runs.results(f"{step({'url': f'{server.url}/a'}, on_error='continue')}\n- {after}")

    told = f'HTTPStatusError: GET {server.url}/a answered 422 {HTTPStatus(422).phrase}: {{"error": "too long"}}'
    assert results["after"] == told


@pytest.mark.parametrize(
    ("retry", "attempts"),
    [
        ({"max_attempts": 3, "delay": 0, "on_status": [503]}, 3),
        ({"max_attempts": 3, "delay": 0, "on_status": "5xx"}, 3),
        ({"max_attempts": 3, "delay": 0, "on_error": ["HTTPStatusError"]}, 3),
        ({"max_attempts": 3, "delay": 0, "on_error": "ConnectionError", "on_status": [503]}, 3),
        ({"max_attempts": 3, "delay": 0, "on_status": [429, 500]}, 1),
        ({"max_attempts": 3, "delay": 0, "on_error": ["ConnectionError"]}, 1),
    ],
)
def test_a_status_decides_about_a_further_attempt(
    retry: dict[str, Any], attempts: int, server: LocalServer, runs: Runs
) -> None:
    """By number, by family, by the name of the error, and beside other errors."""
    server.answer("/a", Reply(503), Reply(503), Reply(200, b"at last"))

    ended = runs.run(step({"url": f"{server.url}/a"}, retry=retry))

    assert (ended.code, len(server.seen)) == (0 if attempts == 3 else 1, attempts)


@pytest.mark.parametrize(
    ("retry", "top"),
    [
        ({"max_attempts": 2, "delay": 0}, ""),
        ({"max_attempts": 2, "delay": 0, "max_delay": "1m", "on_status": [429]}, ""),
        ({"max_attempts": 2, "delay": 0, "on_text": "429"}, ""),
        ({"max_attempts": 2, "delay": 0}, "secrets: [PATH]"),
        (None, "defaults: {retry: {max_attempts: 2, max_delay: 1m}}"),
    ],
)
def test_a_retry_after_is_waited_for(retry: dict[str, Any] | None, top: str, server: LocalServer, runs: Runs) -> None:
    """However short the delay of the policy is, and whatever else looks at the failure: the next attempt is due when
    the server says, be it days later."""
    server.answer("/a", Reply(429, b"", (("Retry-After", "259200"),)))

    ended = runs.run(
        step({"url": f"{server.url}/a"}, **({} if retry is None else {"retry": retry})), "--no-wait", top=top
    )

    (ask,) = runs.state()["steps"]
    assert ended.code == 7
    assert ask["status"] == "retrying"
    assert "429 Too Many Requests; it asks not to be tried again for 3d" in ask["error"]["message"]
    due, began = (datetime.fromisoformat(ask[name]) for name in ("next_attempt_at", "started_at"))
    assert timedelta(days=3) <= due - began < timedelta(days=3, minutes=5)


def test_redirects_are_followed_with_what_they_may_know(server: LocalServer, runs: Runs) -> None:
    """A POST becomes a GET where browsers make it one; what says who asks is not told to another host."""
    with serving() as other:
        other.answer("/end", Reply(200, b"here"))
        server.answer("/a", Reply(302, b"", (("Location", "/b"),)))
        server.answer("/b", Reply(307, b"", (("Location", f"{other.url}/end"),)))

        result = runs.results(
            step({"url": f"{server.url}/a", "json": 1, "token": "abc", "headers": {"X-Key": "k", "Cookie": "c"}})
        )["ask"]

        assert (result["body"], result["url"]) == ("here", f"{other.url}/end")
        first, second, (third,) = *server.seen, other.seen
        assert (first.method, second.method, second.body) == ("POST", "GET", b"")
        assert (second.headers["authorization"], second.headers["x-key"]) == ("Bearer abc", "k")
        assert third.headers.keys() & {"authorization", "x-key", "cookie"} == set()
        assert third.headers["host"] == f"127.0.0.1:{other.port}"


def test_a_307_keeps_method_and_body(server: LocalServer, runs: Runs) -> None:
    """As it is meant to."""
    server.answer("/a", Reply(307, b"", (("Location", "/b"),)))
    server.answer("/b", Reply())

    runs.results(step({"url": f"{server.url}/a", "json": [1], "method": "put"}))

    assert [(seen.method, seen.body) for seen in server.seen] == [("PUT", b"[1]")] * 2


@pytest.mark.parametrize(
    ("location", "inputs", "type", "told"),
    [
        ("/a", {}, "RedirectError", "was redirected more than 10 times"),
        ("/a", {"max_redirects": 2}, "RedirectError", "was redirected more than 2 times"),
        ("file:///etc/passwd", {}, "RedirectError", "was redirected to what is no address of the web"),
        ("mailto:ada@example.org", {}, "RedirectError", "was redirected to what is no address of the web"),
        ("http://169.254.169.254/latest", {}, "AddressRefusedError", "a link-local address"),
        ("http://[::ffff:169.254.169.254]/", {}, "AddressRefusedError", "a link-local address"),
    ],
)
def test_a_redirect_that_leads_nowhere_fails_the_step(
    location: str, inputs: dict[str, Any], type: str, told: str, server: LocalServer, runs: Runs
) -> None:
    """Round and round, out of the web, or to where machines keep their credentials."""
    server.answer("/a", Reply(302, b"", (("Location", location),)))

    found, message = runs.error(step({"url": f"{server.url}/a", **inputs}))

    assert (found, told in message) == (type, True), message


def test_no_redirect_is_followed_when_none_is_wanted(server: LocalServer, runs: Runs) -> None:
    """It is the answer then."""
    server.answer("/a", Reply(302, b"", (("Location", "/b"),)))

    result = runs.results(step({"url": f"{server.url}/a", "max_redirects": 0}))["ask"]

    assert (result["status_code"], result["headers"]["location"]) == (302, "/b")


@pytest.mark.parametrize(
    ("url", "top", "environment", "told"),
    [
        ("127.0.0.1", "settings: {http: {private: false}}", {}, "an address of this machine"),
        ("127.0.0.1", "", {"FLUJO_HTTP_PRIVATE": "block"}, "an address of this machine"),
        ("127.0.0.1", "settings: {http: {private: true}}", {"FLUJO_HTTP_PRIVATE": "block"}, "an address of this"),
        ("localhost", "settings: {http: {private: false}}", {}, "an address of this machine"),
        ("2130706433", "settings: {http: {private: false}}", {}, "an address of this machine"),
        ("[::ffff:127.0.0.1]", "settings: {http: {private: false}}", {}, "an address of this machine"),
        ("10.1.2.3", "settings: {http: {private: false}}", {}, "a private address"),
        ("127.0.0.1", "settings: {http: {hosts: [example.org, '*.example.org']}}", {}, "allowed are: example.org"),
        (
            "127.0.0.1",
            "settings: {http: {hosts: ['*']}}",
            {"FLUJO_HTTP_HOSTS": "a.org, b.org"},
            "allowed are: a.org, b",
        ),
    ],
)
def test_a_place_that_is_not_allowed_is_not_asked(
    url: str,
    top: str,
    environment: dict[str, str],
    told: str,
    server: LocalServer,
    runs: Runs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By name and by every address it has, however it is written; the stricter of definition and machine decides."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    type, message = runs.error(step({"url": f"http://{url}:{server.port}/a"}), top=top)

    assert (type, told in message) == ("AddressRefusedError", True), message
    assert server.seen == []


@pytest.mark.parametrize(
    ("top", "environment"),
    [
        ("settings: {http: {hosts: ['127.0.*'], private: true}}", {}),
        ("settings: {http: {hosts: 127.0.0.1}}", {"FLUJO_HTTP_PRIVATE": "allow", "FLUJO_HTTP_HOSTS": "127.0.0.1"}),
    ],
)
def test_a_place_that_is_allowed_is_asked(
    top: str, environment: dict[str, str], server: LocalServer, runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By all who have a say."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    server.answer("/a", Reply())

    runs.results(step({"url": f"{server.url}/a"}), top=top)


def test_a_request_goes_by_a_proxy(server: LocalServer, runs: Runs) -> None:
    """Which is asked for the whole URL, and told who asks; a name that only the proxy knows is left to it."""
    url = "http://only-the-proxy-knows.invalid/a?q=1"
    server.answer("http://only-the-proxy-knows.invalid/a", Reply(200, b"from afar"))

    result = runs.results(step({"url": url, "proxy": f"http://me:pass-word@127.0.0.1:{server.port}"}))["ask"]

    assert result["body"] == "from afar"
    assert server.seen[0].path == url
    assert server.seen[0].headers["host"] == "only-the-proxy-knows.invalid"
    assert base64.b64decode(server.seen[0].headers["proxy-authorization"].split()[1]) == b"me:pass-word"
    assert "pass-word" not in json.dumps(runs.state())


@pytest.mark.parametrize(
    ("url", "proxy", "top", "told"),
    [
        ("http://127.0.0.1/", "http://127.0.0.1:{port}", "settings: {http: {private: false}}", "an address of this"),
        ("http://a.org/", "http://127.0.0.1:{port}", "settings: {http: {hosts: [b.org]}}", "allowed are: b.org"),
        ("http://169.254.169.254/", "http://127.0.0.1:{port}", "", "a link-local address"),
        ("http://2852039166/", "http://127.0.0.1:{port}", "", "a link-local address"),
        ("http://a.org/", "ftp://x:pass-word@y", "", "`proxy` must be a URL such as http://proxy.example.org:3128"),
    ],
)
def test_a_proxy_is_no_way_around_the_rules(
    url: str, proxy: str, top: str, told: str, server: LocalServer, runs: Runs
) -> None:
    """Nor is what is no proxy taken for one."""
    _, message = runs.error(step({"url": url, "proxy": proxy.format(port=server.port)}), top=top)

    assert told in message
    assert "pass-word" not in message
    assert server.seen == []


def test_an_answer_that_is_too_large_is_given_up(server: LocalServer, runs: Runs) -> None:
    """Also one that a few bytes stand for: it is never unpacked as a whole."""
    server.answer("/plain", Reply(200, b"x" * 1001))
    server.answer("/bomb", Reply(200, gzip.compress(b"x" * 50_000_000), (("Content-Encoding", "gzip"),)))

    plain = runs.error(step({"url": f"{server.url}/plain", "max_size": 1000}))
    runs.flujoctl("delete", "r", "--yes")
    bomb = runs.error(step({"url": f"{server.url}/bomb"}))

    assert plain[0] == bomb[0] == "ResponseTooLargeError"
    assert "the answer is larger than 1,000 bytes; allow more with `max_size`, or send it to a file" in plain[1]


def test_a_compressed_answer_is_unpacked(server: LocalServer, runs: Runs) -> None:
    """As it was asked for."""
    server.answer("/a", Reply(200, gzip.compress(b"plain " * 50_000), (("Content-Encoding", "gzip"),)))

    assert runs.results(step({"url": f"{server.url}/a"}))["ask"]["body"] == "plain " * 50_000


def free_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("url", ["http://127.0.0.1:{free}/a", "http://name.invalid/a", "https://127.0.0.1:{plain}/a"])
def test_what_the_network_does_is_a_connection_error(url: str, server: LocalServer, runs: Runs) -> None:
    """Nobody listens, nobody is there, nobody speaks as expected; a rule for ConnectionError knows all of them."""
    place = url.format(free=free_port(), plain=server.port)

    type, message = runs.error(
        step({"url": place}, retry={"max_attempts": 2, "delay": 0, "on_error": "ConnectionError"})
    )

    assert type == "ConnectionError"
    assert message.startswith(f"GET {place}: ")
    assert runs.state()["steps"][0]["attempt"] == 2


def test_an_answer_that_stops_in_the_middle_is_a_connection_error(server: LocalServer, runs: Runs) -> None:
    """Not a short body."""
    server.answer("/a", Reply(200, b"short", (("Content-Encoding", "gzip"),)))

    assert runs.error(step({"url": f"{server.url}/a"}))[0] == "ConnectionError"


def test_a_server_that_says_nothing_is_a_timeout(server: LocalServer, runs: Runs) -> None:
    """It is the whole exchange that takes no longer."""
    server.answer("/a", Reply(200, b"a little", hangs=True))

    type, message = runs.error(step({"url": f"{server.url}/a", "timeout": 0.2}))

    assert (type, message) == ("TimeoutError", f"GET {server.url}/a took longer than 0.2s")


def test_a_cancel_ends_a_request(server: LocalServer, runs: Runs) -> None:
    """At once, however long the server takes."""
    server.answer("/a", Reply(200, b"a little", hangs=True))
    (runs.folder / "flow.yaml").write_text(f"name: flow\nsteps:\n{step({'url': f'{server.url}/a', 'timeout': 3600})}\n")
    command = [sys.executable, "-m", "flujoctl"]
    running = subprocess.Popen([*command, "run", "flow.yaml", "--id", "r"], stderr=subprocess.DEVNULL)
    assert server.hanging.wait(60)

    subprocess.run([*command, "cancel", "r"], check=True, capture_output=True)

    assert running.wait(60) == 8
    assert runs.state()["status"] == "cancelled"


def test_a_signal_ends_a_request(server: LocalServer, runs: Runs) -> None:
    """The run can be resumed."""
    server.answer("/a", Reply(200, b"a little", hangs=True))
    (runs.folder / "flow.yaml").write_text(f"name: flow\nsteps:\n{step({'url': f'{server.url}/a', 'timeout': 3600})}\n")
    command = [sys.executable, "-m", "flujoctl"]
    running = subprocess.Popen([*command, "run", "flow.yaml", "--id", "r"], stderr=subprocess.DEVNULL)
    assert server.hanging.wait(60)
    running.send_signal(signal.SIGTERM)
    running.wait(60)
    server.answer("/a", Reply(200, b"done"))

    assert runs.flujoctl("resume", "r").code == 0


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"url": "http://a/", "json": 1, "data": "x"}, "`data` does not go with `json`: a request has one body"),
        ({"url": "http://a/", "method": "GET /"}, "`method` must be a method such as GET or POST"),
        ({"url": "http://a/", "ok_status": [42]}, "`ok_status` must list statuses such as 404 or 5xx, not '42'"),
        ({"url": "http://a/", "auth": {"type": "kerberos"}}, "`auth` must be {type: bearer, token: …}"),
        ({"url": "http://a/", "auth": {"type": "bearer", "token": "x", "y": 1}}, "`auth` must be {type: bearer"),
        ({"url": "http://a/", "retry": {"max_attempts": 2}}, "`retry` belongs to the step, beside `inputs`"),
        ({"method": "GET"}, "task `http.request` needs the input `url`"),
        ({"url": "ftp://a/"}, "flow.yaml:3:63: `url` must begin with http:// or https:// and name a host"),
    ],
)
def test_a_request_that_cannot_be_meant_is_refused_before_anything_runs(
    inputs: dict[str, Any], told: str, runs: Runs
) -> None:
    """With its position."""
    assert told in runs.refusal(step(inputs))


def test_statuses_of_a_retry_are_checked(runs: Runs) -> None:
    """Before anything runs."""
    told = runs.refusal(step({"url": "http://a/"}, retry={"max_attempts": 2, "on_status": [42]}))

    assert "`on_status` must list statuses such as 404 or 5xx, not '42'" in told


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        ({"url": "{{ 'ftp://a/' }}"}, "`url` must begin with http:// or https:// and name a host"),
        ({"url": "{{ 'nowhere' }}"}, "`url` must begin with http:// or https:// and name a host"),
        ({"url": "http://a/", "headers": {"X-A": "hidden\nline"}}, "the header `X-A` has a line break, or another"),
        ({"url": "http://a/", "headers": {"X A": "hidden"}}, "'X A' is not the name of a header"),
        ({"url": "http://a/", "auth": {"type": "bearer", "token_env": "NOT_THERE"}}, "variable NOT_THERE, which"),
    ],
)
def test_a_request_that_cannot_be_sent_says_why_without_its_values(
    inputs: dict[str, Any], told: str, runs: Runs
) -> None:
    """Any of them may be a secret."""
    _, message = runs.error(step(inputs))

    assert told in message
    assert "hidden" not in message


def test_settings_that_say_nothing_are_told(runs: Runs) -> None:
    """A rule that is misspelled would allow everything."""
    told = runs.refusal(step({"url": "http://a/"}), top="settings: {http: {host: [a]}}")

    assert "`settings.http` is a mapping of `hosts` and `private`" in told


@pytest.mark.parametrize("hosts", ["5", "[5]", "{a: b}"])
def test_hosts_that_are_no_names_are_told(hosts: str, runs: Runs) -> None:
    """Nobody would be allowed by them, or everybody."""
    told = runs.refusal(step({"url": "http://a/"}), top=f"settings: {{http: {{hosts: {hosts}}}}}")

    assert "`settings.http.hosts` is a list of names" in told


def test_without_its_extra_the_task_says_what_to_install(
    flujoctl: Flujoctl, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything runs, by the line that helps."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr("flujo.workflows.registry.find_spec", lambda name: None if name == "httpx" else find_spec(name))
    (folder / "flow.yaml").write_text(f"name: flow\nsteps:\n{step({'url': 'http://a/'})}\n")

    ended = flujoctl("run", "flow.yaml")

    assert ended.code == 2
    assert "task `http.request` needs httpx, which is not installed: pip install 'flujoctl[http]'" in ended.err


def test_the_task_has_a_second_name(server: LocalServer, runs: Runs) -> None:
    """As some files write it."""
    server.answer("/a", Reply(200, b"x"))

    assert runs.results(step({"url": f"{server.url}/a"}).replace("http.request", "http_request"))["ask"]["body"] == "x"


@pytest.mark.parametrize(("verify", "mode"), [(True, ssl.CERT_REQUIRED), (False, ssl.CERT_NONE)])
def test_certificates_are_checked_unless_the_step_says_otherwise(verify: bool, mode: ssl.VerifyMode) -> None:
    """They, and whether they are of this host."""
    context = tls(verify)

    assert (context.verify_mode, context.check_hostname) == (mode, verify)
