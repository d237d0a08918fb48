#!/usr/bin/env bash
# @connectrpc/connect-node: where no server listens, a gRPC call ends in "internal"; a deadline in a billion seconds is over
# at once.
#
# Guess: the transport that speaks gRPC gives the codes that gRPC's own library for Node gives: UNAVAILABLE, which clients take
#   for a reason to try again, where nobody listens; and a far deadline is far.
# Behaviour: for a unix socket that is not there connect-node says "internal", which retry policies take for a fault of the
#   server; grpc-js says UNAVAILABLE. A `timeoutMs` above 2^31 - 1 goes into a timer of Node, which takes it for one
#   millisecond. Where a server takes its time, the call is over at once; grpc-js waits.
# Seen with: @connectrpc/connect-node 2.1.2 (connect 2.1.2, protobuf 2.10.2), @grpc/grpc-js 1.14.7, Node 20.20.2
#
#     connect-node, no server: internal
#     connect-node, a slow server, a deadline in 1e12 ms: deadline_exceeded
#     grpc-js, no server: UNAVAILABLE
#     grpc-js, a slow server, a deadline in 1e12 ms: waits
#
# So: whoever retries on connect-node's codes has to take `internal` for a lost connection too where no reason of the server
# comes with it, and leaves far deadlines out.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes > npm.log
npm install --silent --no-audit --no-fund @connectrpc/connect@2.1.2 @connectrpc/connect-node@2.1.2 @bufbuild/protobuf@2.10.2 \
    @grpc/grpc-js@1.14.7 >> npm.log 2>&1 || { cat npm.log; exit 1; }
cat > try.mjs <<'JS'
import * as net from "node:net";
import { Code, createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { EmptySchema } from "@bufbuild/protobuf/wkt";
import * as grpc from "@grpc/grpc-js";

// A service with one unary method, described by hand.
const method = { kind: "rpc", name: "Ask", localName: "ask", methodKind: "unary", input: EmptySchema, output: EmptySchema };
const service = { kind: "service", typeName: "try.Service", name: "Service", methods: [method], method: { ask: method } };
method.parent = service;
const nowhere = `${process.cwd()}/nobody-listens-here`;
const slow = `${process.cwd()}/takes-its-time`;
const sockets = new Set();
const server = net.createServer((socket) => sockets.add(socket)); // it accepts, and never answers
await new Promise((resolve) => server.listen(slow, resolve));
const AT_MOST = 1000; // milliseconds to watch a call that waits

async function connectNode(path, options) {
  const nodeOptions = { createConnection: () => net.connect(path) };
  const client = createClient(service, createGrpcTransport({ baseUrl: "http://localhost", nodeOptions }));
  const patience = new AbortController();
  setTimeout(() => patience.abort(), AT_MOST).unref();
  try {
    await client.ask({}, { ...options, signal: patience.signal });
  } catch (error) {
    const name = Object.keys(Code).find((key) => Code[key] === error.code);
    return name === "Canceled" ? "waits" : name.replace(/(?<!^)([A-Z])/g, "_$1").toLowerCase();
  }
}

async function grpcJs(path, options) {
  const channel = new grpc.Client(`unix:${path}`, grpc.credentials.createInsecure());
  const same = (value) => value;
  const code = await new Promise((resolve) => {
    const ended = (error) => resolve(grpc.status[error.code]);
    const call = channel.makeUnaryRequest("/try.Service/Ask", same, same, Buffer.alloc(0), new grpc.Metadata(), options, ended);
    setTimeout(() => call.cancel(), AT_MOST).unref();
  });
  channel.close();
  return code === "CANCELLED" ? "waits" : code;
}

console.log(`connect-node, no server: ${await connectNode(nowhere, {})}`);
console.log(`connect-node, a slow server, a deadline in 1e12 ms: ${await connectNode(slow, { timeoutMs: 1e12 })}`);
console.log(`grpc-js, no server: ${await grpcJs(nowhere, {})}`);
console.log(`grpc-js, a slow server, a deadline in 1e12 ms: ${await grpcJs(slow, { deadline: Date.now() + 1e12 })}`);
sockets.forEach((socket) => socket.destroy());
server.close();
process.exit(0);
JS
node --no-warnings try.mjs > seen.log
cat seen.log
diff <(sed -n 's/^#     //p' "$script") seen.log || { echo "changed: not what was seen before"; exit 1; }
