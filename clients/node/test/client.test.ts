import assert from "node:assert/strict";
import { test } from "node:test";

import { create, fromBinary } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { toError } from "../src/errors.js";
import { RunSchema } from "../src/gen/flujo/v1/run_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "../src/gen/google/rpc/error_details_pb.js";
import { Client, decode, encode, RunStatus, statusText } from "../src/index.js";

test("an address that is none, and credentials that must not be sent, are refused", () => {
  const refused: [string, object, RegExp][] = [
    ["", {}, /neither unix:PATH nor tcp:\/\/HOST:PORT/],
    ["unix:", {}, /neither/],
    ["tcp://localhost", {}, /neither/],
    ["tcp://example.org:7777", { token: "t" }, /without TLS everybody/],
    ["tcp://localhost:7777", { key: "k" }, /go together/],
    ["tcp://localhost:7777", { key: "k", certificate: "c" }, /needs TLS/],
    ["tcp://localhost:65536", {}, /neither/],
    ["tcp://eve@localhost:7777", {}, /neither/],
    ["dns:///localhost:7777", {}, /neither/],
    ["unix:s", { token: "secret\n" }, /^TypeError: a token is visible ASCII(?!.*secret)/],
    ["unix:s", { token: "sécret" }, /^TypeError: a token is visible ASCII(?!.*cret)/],
    ["unix:s", { callSeconds: NaN }, /callSeconds/],
    ["unix:s", { reconnectSeconds: 0 }, /reconnectSeconds/],
  ];
  for (const [address, options, says] of refused) assert.throws(() => new Client(address, options), says);
  for (const address of ["unix:C#/a%41?", "unix:///run/flujo", "tcp://127.0.0.1:7777", "[::1]:7777", "localhost:7777"]) {
    new Client(address).close();
  }
});

test("an error tells what the server said", () => {
  const metadata = { hints: "do this\ndo that" };
  const error = toError(
    new ConnectError("a name", Code.InvalidArgument, undefined, [
      { desc: ErrorInfoSchema, value: create(ErrorInfoSchema, { domain: "flujo", reason: "INVALID_FIELD", metadata }) },
      { desc: BadRequestSchema, value: { fieldViolations: [{ field: "name", description: "no" }] } },
    ]),
  );
  // Details that were not received are not found; the rest is what a user sees.
  assert.equal(error.code, "INVALID_ARGUMENT");
  assert.equal(error.message, "a name");
  assert.equal(toError(new ConnectError("cut", Code.Aborted)).code, "UNAVAILABLE");
  assert.equal(toError(new ConnectError("refused by TLS", Code.Canceled)).code, "UNAVAILABLE");
  assert.equal(toError(new ConnectError("left", Code.Canceled), AbortSignal.abort()).code, "CANCELLED");
});

test("whole numbers keep their digits", () => {
  for (const text of ["18446744073709551615", "[-9223372036854775808,0.1,1]", '{"<é\\u0000>":null}', '"1234567890123456789"']) {
    assert.equal(encode(decode(text)), text);
  }
  assert.equal(decode("9007199254740993"), 9007199254740993n);
  assert.equal(decode("12345678901234567.5"), 12345678901234568);
  assert.throws(() => encode(() => 1), TypeError);
  assert.equal(encode({ zeros: [-0, 0], one: 1.0 }), '{"zeros":[-0.0,0],"one":1}');
  assert.ok(Object.is(decode("-0.0"), -0));
});

test("a status of a newer server is shown as unknown", () => {
  assert.equal(statusText(RunStatus.COMPLETED), "completed");
  assert.equal(statusText(fromBinary(RunSchema, new Uint8Array([0x28, 42])).status), "unknown (42)");
});
