#!/usr/bin/env bash
# gRPC: a stream of requests that its client cancels ends at the server as one that is whole does, so half an upload is stored.
#
# A client sends the five parts of a file in a stream of requests. It sends all of them, or it is cancelled when the third has arrived.
# The server gathers the parts and stores them when the stream has ended.
# Guess:     a stream ends in one of two ways: the client has said that this was all, or the call was given up, which raises in the
#            loop of the handler (in Node: an "error" or "cancelled" in the place of "end"). io.EOF and an error are two things in Go.
# Behaviour: in grpc.aio `async for` ends in silence each time, with context.cancelled() still False. The cancellation comes with the
#            handler's next await: what it does before that, it does with three parts of five. @grpc/grpc-js says "end" as well,
#            while call.cancelled is False, and "cancelled" behind it. The server of grpcio with threads raises RpcError in the
#            loop in most calls; in eight of sixty here it ended in silence too, with is_active() True (issue 33038 of grpc; left to
#            chance, so not shown below).
# Seen with: grpcio 1.85.3 and 1.73.1, Python 3.11.7; @grpc/grpc-js 1.14.7, Node 20.20.2:
#
#     1.73.1 grpc.aio, all parts sent: stored 5 parts, cancelled False, then nothing
#     1.73.1 grpc.aio, cancelled: stored 3 parts, cancelled False, then CancelledError
#     1.85.3 grpc.aio, all parts sent: stored 5 parts, cancelled False, then nothing
#     1.85.3 grpc.aio, cancelled: stored 3 parts, cancelled False, then CancelledError
#     1.85.3 grpc-js, all parts sent: stored 5 parts, cancelled false, then nothing
#     1.85.3 grpc-js, cancelled: stored 3 parts, cancelled false, then cancelled
#
# So: let the last message say that it is the last, or what all of it adds up to. ImportRun of flujo takes one JSON text in pieces, of
# which no shorter part is a text of its own.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"
cat > server.py <<'PYTHON'
import asyncio
import os

import grpc


async def upload(requests, context):
    parts = []
    async for part in requests:
        parts.append(part)
        if len(parts) == 3:
            open("three", "w").close()
    said = f"stored {len(parts)} parts, cancelled {context.cancelled()}"
    try:
        await asyncio.sleep(1)
    except asyncio.CancelledError:
        said += ", then CancelledError"
        raise
    else:
        said += ", then nothing"
    finally:
        print(said, flush=True)
    return b""


async def main():
    server = grpc.aio.server()
    methods = {"Upload": grpc.stream_unary_rpc_method_handler(upload)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("try.Files", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with open("port.unfinished", "w") as file:
        file.write(str(port))
    os.rename("port.unfinished", "port")
    await server.wait_for_termination()


asyncio.run(main())
PYTHON
cat > server.cjs <<'JS'
const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");

const same = (bytes) => bytes;
const upload = (call, callback) => {
  let parts = 0;
  const said = [];
  const note = (what) => {
    if (said.push(what) > 1) return;
    setTimeout(() => {
      console.log(said.length > 1 ? said.join(", then ") : `${what}, then nothing`);
      callback(null, Buffer.alloc(0));
    }, 1000);
  };
  call.on("data", () => {
    if (++parts === 3) fs.writeFileSync("three", "");
  });
  call.on("end", () => note(`stored ${parts} parts, cancelled ${call.cancelled}`));
  call.on("cancelled", () => note("cancelled"));
  call.on("error", () => note("error"));
};
const Upload = { path: "/try.Files/Upload", requestStream: true, responseStream: false, requestSerialize: same,
  requestDeserialize: same, responseSerialize: same, responseDeserialize: same };
const server = new grpc.Server();
server.addService({ Upload }, { Upload: upload });
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
  fs.writeFileSync("port.unfinished", String(port));
  fs.renameSync("port.unfinished", "port");
});
JS
cat > client.py <<'PYTHON'
import sys
import threading
import time
from pathlib import Path

import grpc

is_cancelled = sys.argv[1] == "cancelled"
ended = threading.Event()


def parts():
    for number in range(5):
        if number == 3 and is_cancelled:
            ended.wait(60)
            return
        yield b"part"


with grpc.insecure_channel(f"127.0.0.1:{Path('port').read_text()}") as channel:
    call = channel.stream_unary("/try.Files/Upload").future(parts(), timeout=60, wait_for_ready=True)
    if is_cancelled:
        while not Path("three").exists():
            time.sleep(0.05)
        call.cancel()
    try:
        call.result()
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass
    ended.set()
PYTHON
serve() {  # LABEL COMMAND...: says what the server has stored in each way
    rm -f port stored three
    "${@:2}" > stored 2>> log &
    server=$!
    until [ -e port ]; do kill -0 "$server"; sleep 0.1; done
    local count=0
    for way in "all parts sent" cancelled; do
        rm -f three
        "$version/bin/python" client.py "$way"
        count=$((count + 1))
        for _ in $(seq 100); do [ "$(wc -l < stored)" -lt $count ] || break; sleep 0.1; done
        echo "$version $1, $way: $(tail -n 1 stored)" | tee -a seen.log
    done
    kill "$server"
    server=
}

for version in 1.73.1 1.85.3; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "grpcio==$version" > log 2>&1 || { cat log; exit 1; }
    serve grpc.aio "$version/bin/python" server.py
done
npm init --yes >> log
npm install --silent --no-fund --no-audit @grpc/grpc-js@1.14.7 >> log
serve grpc-js node server.cjs
diff <(sed -n 's/^#     \([0-9]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat log; exit 1; }
