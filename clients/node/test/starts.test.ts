import assert from "node:assert/strict";
import { test } from "node:test";

import { create } from "@bufbuild/protobuf";

import { StartOutcomeSchema } from "../src/gen/flujo/v1/run_service_pb.js";
import { Client, FlujoError } from "../src/index.js";
import { inCalls, MOST_START_BYTES, startOutcome, startRequest } from "../src/starts.js";

test("starts are asked for in as few calls as there is room for", () => {
  const half = MOST_START_BYTES / 2;
  const cases: [number[], number[]][] = [
    [[], []],
    [[10, 20, 30], [3]],
    [[half, half, 10], [1, 2]], // their frames need some bytes as well
    [[10, 2 * MOST_START_BYTES, 10], [1, 1, 1]],
  ];
  for (const [sizes, counts] of cases) {
    const starts = sizes.map((size) => startRequest({ workflow: "w", labels: { text: "x".repeat(size) } }));
    const calls = inCalls(starts);
    assert.deepEqual(
      calls.map((call) => call.starts.length),
      counts,
    );
    assert.deepEqual(
      calls.flatMap((call) => call.starts),
      starts,
    );
  }
});

test("a refusal is the error that start throws", () => {
  // A google.rpc.Status as a server of flujo sends it, with an ErrorInfo and a BadRequest.
  const field = (number: number, bytes: Uint8Array) => Buffer.from([8 * number + 2, bytes.length, ...bytes]);
  const words = (number: number, text: string) => field(number, Buffer.from(text));
  const any = (name: string, ...parts: Buffer[]) =>
    field(3, Buffer.concat([words(1, `t.g/google.rpc.${name}`), field(2, Buffer.concat(parts))]));
  const hints = field(3, Buffer.concat([words(1, "hints"), words(2, "do this")]));
  const status = Buffer.concat([
    Buffer.from([8, 3]),
    words(2, "an id"),
    any("ErrorInfo", words(1, "INVALID_FIELD"), words(2, "flujo"), hints),
    any("BadRequest", field(1, Buffer.concat([words(1, "run_id"), words(2, "no")]))),
  ]);
  const refusal = { code: 3, reason: "INVALID_FIELD", message: "an id", status };
  const whole = startOutcome(create(StartOutcomeSchema, { refusal }));
  assert(whole instanceof FlujoError);
  const { code, reason, message } = whole;
  assert.deepEqual([code, reason, message], ["INVALID_ARGUMENT", "INVALID_FIELD", "an id"]);
  assert.deepEqual(whole.hints, ["do this"]);
  assert.deepEqual(whole.fields, [{ field: "run_id", description: "no" }]);
  for (const cut of [new Uint8Array(), new Uint8Array([255])]) {
    const bare = startOutcome(create(StartOutcomeSchema, { refusal: { ...refusal, status: cut } }));
    assert(bare instanceof FlujoError);
    assert.deepEqual([bare.code, bare.reason, bare.message], ["INVALID_ARGUMENT", "INVALID_FIELD", "an id"]);
  }
  assert.deepEqual(startOutcome(create(StartOutcomeSchema, { runId: "r", created: true })), { runId: "r", created: true });
});

test("too many starts, and inputs that are no JSON, start nothing", async () => {
  const client = new Client("unix:no-such-socket");
  const many = Array.from({ length: 1001 }, () => ({ workflow: "w" }));
  await assert.rejects(client.startRuns(many), { reason: "INVALID_FIELD", fields: [{ field: "starts", description: "at most 1000 of them" }] });
  await assert.rejects(client.startRuns([{ workflow: "w" }, { workflow: "w", inputs: () => 1 }]), TypeError);
  assert.deepEqual(await client.startRuns([]), []);
  client.close();
});
