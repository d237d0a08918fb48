#!/usr/bin/env bash
# gRPC: with a message of 1,500 Japanese characters the same error has one code in one call and another in the next.
#
# Guess:     the code of an error does not depend on how long its message is; a message that is too long is cut or refused, always.
# Behaviour: the message travels in a header, where each byte that is not printable ASCII takes three. From 8 KiB of headers on
#            the core that Python, C++, Ruby and PHP use draws lots for each call, ever worse ones up to 16 KiB, and a loser gets
#            RESOURCE_EXHAUSTED in the place of its error. So 1,500 characters of Japanese, or 12,000 of English, are
#            FAILED_PRECONDITION in some calls and RESOURCE_EXHAUSTED, which many clients repeat, in others. @grpc/grpc-js gets
#            the same answers of the same server whole, and of 50,000 characters as well.
# Seen with: grpcio 1.85.3, Python 3.11.7; @grpc/grpc-js 1.14.7, Node 20.20.2
#
#     grpcio, 700 Japanese characters: FAILED_PRECONDITION
#     grpcio, 1500 Japanese characters: FAILED_PRECONDITION, RESOURCE_EXHAUSTED
#     grpcio, 7000 English characters: FAILED_PRECONDITION
#     grpcio, 12000 English characters: FAILED_PRECONDITION, RESOURCE_EXHAUSTED
#     grpcio, 20000 English characters: RESOURCE_EXHAUSTED
#     grpc-js, 1500 Japanese characters: FAILED_PRECONDITION
#     grpc-js, 12000 English characters: FAILED_PRECONDITION
#     grpc-js, 50000 English characters: FAILED_PRECONDITION
#
# So: a server counts the bytes of a message as they are in the header, and cuts it below 8 KiB together with its details.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check grpcio==1.85.3
npm init --yes > npm.log
npm install --silent --no-fund --no-audit @grpc/grpc-js@1.14.7 >> npm.log
cat > server.py <<'PYTHON'
import asyncio
import os

import grpc


async def refuse(request: bytes, context: grpc.aio.ServicerContext) -> None:
    letter, count = request.decode().split()
    await context.abort(grpc.StatusCode.FAILED_PRECONDITION, letter * int(count))


async def main() -> None:
    server = grpc.aio.server()
    methods = {"refuse": grpc.unary_unary_rpc_method_handler(refuse)}
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("demo", methods)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with open("port.unfinished", "w") as file:
        file.write(str(port))
    os.rename("port.unfinished", "port")
    await server.wait_for_termination()


asyncio.run(main())
PYTHON
cat > client.py <<'PYTHON'
import asyncio
from pathlib import Path

import grpc

CALLS = 300  # of which one in fifteen or more loses, where some do


async def main() -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{Path('port').read_text()}") as channel:
        refuse = channel.unary_unary("/demo/refuse")
        for count, letter, language in ((700, "走", "Japanese"), (1500, "走", "Japanese"), (7000, "a", "English"),
                                        (12000, "a", "English"), (20000, "a", "English")):  # fmt: skip
            codes = set()
            for _ in range(CALLS):
                try:
                    await refuse(f"{letter} {count}".encode())
                except grpc.aio.AioRpcError as error:
                    codes.add(error.code().name)
            print(f"grpcio, {count} {language} characters: {', '.join(sorted(codes))}")


asyncio.run(main())
PYTHON
cat > client.js <<'JAVASCRIPT'
const fs = require("node:fs");
const grpc = require("@grpc/grpc-js");

const CALLS = 50;
const client = new grpc.Client(`127.0.0.1:${fs.readFileSync("port", "utf8")}`, grpc.credentials.createInsecure());
const same = (bytes) => bytes;
const refused = (request) =>
  new Promise((resolve) => client.makeUnaryRequest("/demo/refuse", same, same, Buffer.from(request), (error) => resolve(grpc.status[error.code])));

async function main() {
  for (const [count, letter, language] of [[1500, "走", "Japanese"], [12000, "a", "English"], [50000, "a", "English"]]) {
    const codes = new Set();
    for (let call = 0; call < CALLS; call++) codes.add(await refused(`${letter} ${count}`));
    console.log(`grpc-js, ${count} ${language} characters: ${[...codes].sort().join(", ")}`);
  }
  client.close();
}

main();
JAVASCRIPT
venv/bin/python server.py &
server=$!
until [ -e port ]; do kill -0 "$server"; sleep 0.1; done
{ venv/bin/python client.py; node client.js; } > seen.log
cat seen.log
diff <(sed -n 's/^#     \([a-zA-Z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; exit 1; }
