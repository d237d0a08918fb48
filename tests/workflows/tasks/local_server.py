"""A server of HTTP on a loopback socket, which answers as a test has told it to."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Seen(NamedTuple):
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What is answered. `hangs`: nothing more comes after the headers until the server ends."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    hangs: bool = False


@dataclass
class LocalServer:
    """Answers each path by its own list of replies, the last of which stays."""

    port: int = 0
    replies: dict[str, list[Reply]] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)
    hanging: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def answer(self, path: str, *replies: Reply) -> None:
        self.replies[path] = list(replies)

    def next_reply(self, path: str) -> Reply:
        left = self.replies.get(path.partition("?")[0], [Reply(404, b"nothing here")])
        return left.pop(0) if len(left) > 1 else left[0]


@contextmanager
def serving(tls: ssl.SSLContext | None = None) -> Iterator[LocalServer]:
    """A server that ends with the block."""
    local = LocalServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(local))
    server.daemon_threads = True
    if tls is not None:
        # The handshake is left to the thread of the connection, so that one that fails does not end the server.
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    local.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield local
    finally:
        local.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


def handler_of(local: LocalServer) -> Callable[..., BaseHTTPRequestHandler]:
    """The class of the handlers of a server."""

    class Handler(BaseHTTPRequestHandler):
        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            local.seen.append(Seen(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            reply = local.next_reply(self.path)
            self.send_response(reply.status)
            for name, value in reply.headers:
                self.send_header(name, value)
            if reply.hangs:
                self.send_header("content-length", "1000000")
            else:
                self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else reply.body)
            if reply.hangs:
                self.wfile.flush()
                local.hanging.set()
                local.ended.wait()

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = handle_any

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler
