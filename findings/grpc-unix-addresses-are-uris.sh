#!/usr/bin/env bash
# gRPC in Python: the path of a unix socket is read as a URI, by the server in one way and by the client in another.
#
# Guess:     `unix:PATH` names the file PATH, whatever characters it has, and a client that is given the address a server
#            was bound to finds it.
# Behaviour: a server bound to unix:/…/C#/s makes its socket in a folder C#, and a client with the very same address looks
#            elsewhere: it drops what follows the #. A path with %41 makes a server bind a file with the letter A in its place.
#            Quoting the path as a URI (urllib.parse.quote) works on both sides.
# Seen with: grpcio 1.73.1 and 1.76.0, Python 3.11.7:
#
#     1.73.1 C#: bound as C#, found with the same address: no, with the path quoted: yes
#     1.73.1 a%41b: bound as aAb, found with the same address: yes, with the path quoted: no
#     1.76.0 C#: bound as C#, found with the same address: no, with the path quoted: yes
#     1.76.0 a%41b: bound as aAb, found with the same address: yes, with the path quoted: no
#
# So: quote paths of sockets on both sides, and never paste a path behind `unix:`.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > sockets.py <<'PYTHON'
import os, sys
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import grpc


def found(address):
    channel = grpc.insecure_channel(address)
    try:
        grpc.channel_ready_future(channel).result(timeout=3)
        return "yes"
    except grpc.FutureTimeoutError:
        return "no"
    finally:
        channel.close()


name = sys.argv[1]
for folder in (name, name.replace("%41", "A")):
    os.makedirs(folder, exist_ok=True)
path = os.path.abspath(os.path.join(name, "s"))
server = grpc.server(ThreadPoolExecutor(1))
server.add_insecure_port(f"unix:{path}")
server.start()
bound = [folder for folder in sorted(os.listdir(".")) if os.path.exists(os.path.join(folder, "s"))]
print(f"{name}: bound as {bound[0]}, found with the same address: {found(f'unix:{path}')}, "
      f"with the path quoted: {found(f'unix:{quote(path)}')}")
server.stop(None)
PYTHON

for version in 1.73.1 1.76.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "grpcio==$version"
    for name in 'C#' 'a%41b'; do
        rm -rf run && mkdir run
        said="$version $(cd run && "../venv-$version/bin/python" ../sockets.py "$name" 2>/dev/null)"
        echo "$said"
        grep -qF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done
done
