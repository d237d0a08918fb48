import { FlujoError, toError } from "./errors.js";
import type { Event } from "./gen/flujo/v1/event_pb.js";
import type { WatchRunResponse } from "./gen/flujo/v1/run_service_pb.js";

/** A place in the events of a run: behind the event `seq` of the run with this `uid`, which tells it from another run of
 * the same id, in the store with this `storeId`, which tells it from the store of before a backup took its place. */
export interface Cursor {
  readonly seq: bigint;
  readonly uid: string;
  readonly storeId: string;
}

/** The place before the first event. */
export const FROM_START: Cursor = { seq: 0n, uid: "", storeId: "" };

/** What a follow knows of time, in milliseconds. */
export interface Clock {
  now(): number;
  /** Resolves once so much time has gone, unless stopped before. */
  timer(milliseconds: number): { fires: Promise<void>; stop: () => void };
}

export const wallClock: Clock = {
  now: () => performance.now(),
  timer(milliseconds) {
    let timeout: NodeJS.Timeout | undefined;
    const fires = new Promise<void>((resolve) => (timeout = setTimeout(resolve, milliseconds)));
    return {
      fires,
      stop: () => {
        clearTimeout(timeout);
      },
    };
  },
};

/** A connection, as a follow sees it. `giveUp` leaves it, for all calls of the client. */
export interface Path {
  watch(at: Cursor, signal: AbortSignal): AsyncIterable<WatchRunResponse>;
  giveUp(): void;
}

export const SILENCE = 45_000;
/** Unless the server says how often it brings a sign of life. */
const SILENT_BOOKMARKS = 3;
export const FIRST_PAUSE = 50;
const LONGEST_PAUSE = 1000;

/** Nothing has come over a connection for too long. */
class SilentError extends FlujoError {
  constructor() {
    super("nothing has come from the server for too long", "UNAVAILABLE");
  }
}

/** Counts how long a server has been gone, from when that is first noticed. */
export class Outage {
  #since: number | undefined;
  #pause = 0;

  constructor(
    private readonly clock: Clock,
    private readonly longest: number,
  ) {}

  /** The server has answered. */
  over(): void {
    this.#since = undefined;
    this.#pause = 0;
  }

  /** Waits before the next try, longer each time; throws the error once the time is up. */
  async wait(error: unknown, signal: AbortSignal | undefined): Promise<void> {
    const now = this.clock.now();
    this.#since ??= now;
    const left = this.longest - (now - this.#since);
    if (left <= 0) throw error;
    this.#pause = Math.min(Math.max(2 * this.#pause, FIRST_PAUSE), LONGEST_PAUSE);
    await before(new Promise<never>(() => undefined), this.clock, Math.min(this.#pause, left), signal).catch(
      (reason: unknown) => {
        if (!(reason instanceof SilentError)) throw reason;
      },
    );
  }
}

/** Returns what comes within some milliseconds; throws SilentError, or why the signal was given. */
async function before<T>(coming: Promise<T>, clock: Clock, milliseconds: number, signal: AbortSignal | undefined): Promise<T> {
  signal?.throwIfAborted();
  const timer = clock.timer(milliseconds);
  let left: (() => void) | undefined;
  try {
    return await Promise.race([
      coming,
      timer.fires.then(() => {
        throw new SilentError();
      }),
      new Promise<never>((_, reject) => {
        left = () => {
          reject(signal?.reason as Error);
        };
        signal?.addEventListener("abort", left);
      }),
    ]);
  } finally {
    timer.stop();
    if (left !== undefined) signal?.removeEventListener("abort", left);
  }
}

/** Yields the events behind a cursor until the end message; goes on after streams that break, behind the last event that
 * was handled: Node may not show the last messages before an error. */
export async function* followed(
  connect: () => Path,
  from: Cursor,
  reconnect: number,
  clock: Clock,
  signal?: AbortSignal,
): AsyncGenerator<Event, void, undefined> {
  const outage = new Outage(clock, reconnect);
  let { seq, uid, storeId } = from;
  let silence = SILENCE;
  for (;;) {
    const path = connect();
    const call = new AbortController();
    try {
      const messages = path.watch({ seq, uid, storeId }, call.signal)[Symbol.asyncIterator]();
      for (;;) {
        const next = messages.next();
        next.catch(() => undefined); // it fails when the call is left, and nobody listens any more
        const came = await before(next, clock, silence, signal);
        if (came.done === true) throw new FlujoError("the stream ended before the run did", "UNAVAILABLE");
        const { content } = came.value;
        outage.over();
        switch (content.case) {
          case "header": {
            uid = content.value.run?.uid ?? uid;
            storeId = content.value.storeId;
            const { seconds, nanos } = content.value.bookmarkInterval ?? { seconds: 0n, nanos: 0 };
            silence = SILENT_BOOKMARKS * (Number(seconds) * 1000 + nanos / 1e6) || SILENCE;
            break;
          }
          case "events":
            for (const event of content.value.events) {
              yield event;
              seq = event.seq; // only now: an event that was not handled comes again
            }
            break;
          case "end":
            return;
        }
      }
    } catch (error) {
      signal?.throwIfAborted();
      const told = error instanceof FlujoError ? error : toError(error);
      if (!told.isGone) throw told;
      if (told instanceof SilentError) path.giveUp();
      await outage.wait(told, signal);
    } finally {
      call.abort(); // to leave the loop does not end the call, here and on the server
    }
  }
}
