#!/usr/bin/env bash
# gRPC: `grpc.min_reconnect_backoff_ms` is also how long a connection may take to be made, so a low value shuts out a slow
# server.
#
# A client reaches its server through a proxy that takes 0.6 seconds for the first bytes of each connection.
# Guess:     100 ms for all three reconnect options makes the client try again sooner after a failure, and changes nothing
#            else: the option is described as the minimum time between two attempts.
# Behaviour: an attempt that has not finished its HTTP/2 handshake within that time is broken off and begun again, for ever:
#            the server is up, and the client makes connection after connection and never becomes ready. In the page "gRPC
#            Connection Backoff Protocol" this is MIN_CONNECT_TIMEOUT, 20 seconds unless told otherwise; the description of
#            the option does not name it.
# Seen with: grpcio 1.85.3 and 1.73.1, Python 3.11.7:
#
#     1.73.1 by default: ready, 1 connection
#     1.73.1 all three at 100 ms: not ready within 4 s, many connections
#     1.73.1 the minimum at 5000 ms, the others at 100 ms: ready, 1 connection
#     1.85.3 by default: ready, 1 connection
#     1.85.3 all three at 100 ms: not ready within 4 s, many connections
#     1.85.3 the minimum at 5000 ms, the others at 100 ms: ready, 1 connection
#
# So: for quick reconnects lower the initial and the greatest backoff, and leave the least at what a connection may take.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > slow.py <<'PYTHON'
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc

server = grpc.server(ThreadPoolExecutor(2))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
proxy = socket.create_server(("127.0.0.1", 0))
connections = []


def pour(source, target):
    try:
        while chunk := source.recv(65536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def hand_on(client):
    time.sleep(0.6)
    with client, socket.create_connection(("127.0.0.1", port)) as upstream:
        threading.Thread(target=pour, args=(client, upstream), daemon=True).start()
        pour(upstream, client)


def accept():
    while True:
        client, _ = proxy.accept()
        connections.append(client)
        threading.Thread(target=hand_on, args=(client,), daemon=True).start()


threading.Thread(target=accept, daemon=True).start()


def told(least, others):
    connections.clear()
    given = {"min": least, "initial": others, "max": others}
    options = [(f"grpc.{name}_reconnect_backoff_ms", value) for name, value in given.items() if value is not None]
    with grpc.insecure_channel(f"127.0.0.1:{proxy.getsockname()[1]}", options=options) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=4)
        except grpc.FutureTimeoutError:
            return f"not ready within 4 s, {'many' if len(connections) > 5 else len(connections)} connections"
        return f"ready, {len(connections)} connection"


print("by default:", told(None, None))
print("all three at 100 ms:", told(100, 100))
print("the minimum at 5000 ms, the others at 100 ms:", told(5000, 100))
server.stop(None)
PYTHON

for version in 1.73.1 1.85.3; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "grpcio==$version"
    "venv-$version/bin/python" slow.py 2>>log | while read -r line; do
        said="$version $line"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
    done
done
