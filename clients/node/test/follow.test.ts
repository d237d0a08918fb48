import assert from "node:assert/strict";
import { test } from "node:test";

import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";

import { FlujoError } from "../src/errors.js";
import { FIRST_PAUSE, followed, FROM_START, SILENCE, type Clock, type Cursor, type Path } from "../src/follow.js";
import { WatchRunResponseSchema } from "../src/gen/flujo/v1/run_service_pb.js";

type Message = MessageInitShape<typeof WatchRunResponseSchema>;

/** Time that goes on when everybody waits for it: to the timer that fires first. */
class FakeClock implements Clock {
  #now = 0;
  readonly #timers = new Set<{ at: number; fire: () => void }>();

  now(): number {
    return this.#now;
  }

  timer(milliseconds: number): { fires: Promise<void>; stop: () => void } {
    let fire = (): void => undefined;
    const fires = new Promise<void>((resolve) => (fire = resolve));
    const made = { at: this.#now + milliseconds, fire };
    this.#timers.add(made);
    // Whatever is ready comes first; only when nothing is left to be done, time goes on.
    setImmediate(() => {
      setImmediate(() => {
        this.#goOn();
      });
    });
    return { fires, stop: () => void this.#timers.delete(made) };
  }

  #goOn(): void {
    const next = [...this.#timers].sort((one, other) => one.at - other.at)[0];
    if (next === undefined) return;
    this.#timers.delete(next);
    this.#now = next.at;
    next.fire();
  }
}

/** Answers each watch with the next of some streams: its messages, then an error, or silence. */
class Server {
  readonly asked: Cursor[] = [];
  readonly at: number[] = [];
  givenUp = 0;
  ended = 0;

  constructor(
    readonly clock: FakeClock,
    readonly streams: { messages: Message[]; error?: Error }[],
  ) {}

  readonly connect = (): Path => ({
    giveUp: () => {
      this.givenUp += 1;
    },
    watch: (at, signal) => this.#stream(at, signal),
  });

  async *#stream(at: Cursor, signal: AbortSignal): AsyncGenerator<ReturnType<typeof message>, void, undefined> {
    this.asked.push(at);
    this.at.push(this.clock.now());
    const next = this.streams.shift();
    if (next === undefined) throw GONE;
    signal.addEventListener("abort", () => (this.ended += 1));
    for (const each of next.messages) yield message(each);
    if (next.error !== undefined) throw next.error;
    await new Promise((_, reject) => {
      signal.addEventListener("abort", () => {
        reject(new ConnectError("left", Code.Canceled));
      });
    });
  }
}

const GONE = new ConnectError("connect ECONNREFUSED", Code.Unavailable);
const END: Message = { content: { case: "end", value: {} } };

function message(init: Message) {
  return create(WatchRunResponseSchema, init);
}

function header(seconds = 0): Message {
  const bookmarkInterval = { seconds: BigInt(seconds) };
  return { content: { case: "header", value: { run: { uid: "u" }, storeId: "s", bookmarkInterval } } };
}

function batch(...seqs: number[]): Message {
  return { content: { case: "events", value: { events: seqs.map((seq) => ({ seq: BigInt(seq) })) } } };
}

async function seqs(server: Server, reconnect = 60_000, leaveAt = 0, signal?: AbortSignal): Promise<number[]> {
  const found: number[] = [];
  for await (const event of followed(server.connect, FROM_START, reconnect, server.clock, signal)) {
    found.push(Number(event.seq));
    if (Number(event.seq) === leaveAt) break;
  }
  return found;
}

for (const code of [Code.Unavailable, Code.Canceled, Code.Internal, Code.Aborted, Code.DeadlineExceeded]) {
  test(`a follow goes on after its stream broke with ${Code[code]}`, async () => {
    const error = new ConnectError("broken", code);
    const server = new Server(new FakeClock(), [
      { messages: [header(), batch(1, 2)], error },
      { messages: [header(), batch(3)], error },
      { messages: [header(), batch(4), END] },
    ]);
    assert.deepEqual(await seqs(server), [1, 2, 3, 4]);
    assert.deepEqual(server.asked, [FROM_START, ...[2n, 3n].map((seq) => ({ seq, uid: "u", storeId: "s" }))]);
    assert.equal(server.givenUp, 0);
  });
}

for (const [seconds, silence] of [[15, 45_000], [2, 6000], [0, SILENCE]] as const) {
  test(`a silent connection is left after three bookmarks of ${seconds.toString()} s`, async () => {
    const server = new Server(new FakeClock(), [{ messages: [header(seconds), batch(1)] }, { messages: [batch(2), END] }]);
    assert.deepEqual(await seqs(server), [1, 2]);
    assert.equal(server.givenUp, 1);
    assert.equal(server.at[1], silence + FIRST_PAUSE);
  });
}

test("a follow gives up when no server comes back", async () => {
  const server = new Server(new FakeClock(), [{ messages: [header(), batch(1)], error: GONE }]);
  await assert.rejects(seqs(server, 10_000), (error) => error instanceof FlujoError && error.code === "UNAVAILABLE");
  assert.equal(server.clock.now(), 10_000);
  assert.ok(server.asked.length > 10 && server.asked.length < 20, server.asked.length.toString());
});

test("the time to give up counts from the last answer", async () => {
  const silent = [1, 2, 3, 4, 5, 6, 7, 8].map((seq) => ({ messages: [header(1), batch(seq)] }));
  const server = new Server(new FakeClock(), [...silent, { messages: [END] }]);
  assert.equal((await seqs(server, 2000)).length, 8);
  assert.ok(server.clock.now() > 20_000);
});

test("an error of the server ends a follow", async () => {
  const server = new Server(new FakeClock(), [{ messages: [], error: new ConnectError("no such run", Code.NotFound) }]);
  await assert.rejects(seqs(server), (error) => error instanceof FlujoError && error.code === "NOT_FOUND");
  assert.equal(server.asked.length, 1);
});

test("leaving the loop ends the call", async () => {
  const server = new Server(new FakeClock(), [{ messages: [header(), batch(1, 2, 3)] }]);
  assert.deepEqual(await seqs(server, 60_000, 2), [1, 2]);
  assert.equal(server.ended, 1);
});

test("a signal ends a follow that waits", async () => {
  const server = new Server(new FakeClock(), [{ messages: [header(15), batch(1)] }]);
  const given = new AbortController();
  const ended = seqs(server, 60_000, 0, given.signal);
  given.abort(new Error("enough"));
  await assert.rejects(ended, /enough/);
});
