import { randomUUID } from "node:crypto";

import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CallOptions as ConnectOptions } from "@connectrpc/connect";

import { connector, type Connection, type Options } from "./connection.js";
import { FlujoError, RunError, RunInterrupted, toError } from "./errors.js";
import { followed, FROM_START, Outage, wallClock, type Cursor } from "./follow.js";
import type { Event } from "./gen/flujo/v1/event_pb.js";
import type { Payload } from "./gen/flujo/v1/payload_pb.js";
import { RunStatus, RunView, type Run } from "./gen/flujo/v1/run_pb.js";
import {
  CancelOutcome,
  PauseOutcome,
  SignalOutcome,
  type PruneRunsRequestSchema,
  type PruneRunsResponse,
  type RunFilterSchema,
} from "./gen/flujo/v1/run_service_pb.js";
import type { GetSystemInfoResponse } from "./gen/flujo/v1/system_service_pb.js";
import { inCalls, startOutcome, startRequest, type NewRun, type Started, type StartOptions } from "./starts.js";
import { decode, given, word, type CallOptions, type Json } from "./values.js";

const WAIT_SECONDS = 20;
const PRUNE_SECONDS = 20;
const LONGEST_TIMER = 2 ** 31 - 1;

export interface ResumeOptions extends CallOptions {
  /** A step that is run again, with what follows on it; without one only what failed. */
  fromStep?: string;
  /** Merged over the recorded ones. */
  inputs?: object;
  /** Steps that are run again, and no others. */
  retry?: string[];
  requestId?: string;
}

export interface ForkOptions extends CallOptions {
  /** Names the new run; without one the server makes an id. */
  newRunId?: string;
  /** A step that is left out, with what follows on it. */
  fromStep?: string;
  /** Merged over those of the run. */
  inputs?: object;
  labels?: Record<string, string>;
  requestId?: string;
}

/** A connection to one server, `unix:PATH` or `tcp://HOST:PORT`; it is made with the first call.
 *
 * `follow`, `wait` and `result` go on when the connection is lost or the server is restarted. Every other call fails at
 * once with a FlujoError, and may be repeated with the same `requestId`, with which it is carried out once. */
export class Client {
  readonly #connect: () => Connection;
  readonly #callSeconds: number;
  readonly #reconnect: number;
  #connection: Connection;

  constructor(address: string, options: Options = {}) {
    this.#callSeconds = positive("callSeconds", options.callSeconds ?? 30);
    this.#reconnect = positive("reconnectSeconds", options.reconnectSeconds ?? 60) * 1000;
    this.#connect = connector(address, options);
    this.#connection = this.#connect();
  }

  /** Ends the connection. Calls under way fail. */
  close(): void {
    this.#connection.close();
  }

  /** The generated client of the whole contract, for what has no method here. */
  get service(): Connection["runs"] {
    return this.#connection.runs;
  }

  /** Returns what the server is. */
  async info(options: CallOptions = {}): Promise<GetSystemInfoResponse> {
    return answered(this.#connection.system.getSystemInfo({}, this.#within(options)), options);
  }

  /** Starts a run. The same `runId` with the same inputs, or the same `requestId`, is started once. */
  async start(workflow: string, inputs?: object, options: StartOptions = {}): Promise<Started> {
    const request = startRequest({ ...options, workflow, ...(inputs === undefined ? {} : { inputs }) });
    const { run, created } = await answered(this.service.startRun(request, this.#within(options)), options);
    return { runId: run?.runId ?? "", created };
  }

  /** Starts at most 1000 runs, with as few calls as gRPC has room for. Returns what became of each, in their order: the run,
   * or the error that `start` would have thrown, which keeps no other from starting. Throws what is wrong with a call as a
   * whole: repeat it with the same `runId`s or `requestId`s, and what was started is not started twice. */
  async startRuns(starts: readonly NewRun[], options: CallOptions = {}): Promise<(Started | FlujoError)[]> {
    const outcomes: (Started | FlujoError)[] = [];
    for (const request of inCalls(starts.map(startRequest))) {
      const answer = await answered(this.service.startRuns(request, this.#within(options)), options);
      outcomes.push(...answer.outcomes.map(startOutcome));
    }
    return outcomes;
  }

  /** Returns a run as it stands, without its details. */
  async get(runId: string, options: CallOptions = {}): Promise<Run> {
    return theRun(await answered(this.service.getRun({ runId }, this.#within(options)), options));
  }

  /** Returns a run with its details, as far as an answer has room for them. */
  async inspect(runId: string, options: CallOptions = {}): Promise<Run> {
    return theRun(await answered(this.service.getRun({ runId, view: RunView.FULL }, this.#within(options)), options));
  }

  /** Yields the runs that match, newest first, page after page. */
  async *list(
    filter: MessageInitShape<typeof RunFilterSchema> = {},
    options: CallOptions = {},
  ): AsyncGenerator<Run, void, undefined> {
    let pageToken = "";
    do {
      const request = { filter, pageSize: 1000, pageToken };
      const page = await answered(this.service.listRuns(request, this.#within(options)), options);
      yield* page.runs;
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
  }

  /** Yields the events of a run behind a cursor, stored or new, each once and in order, until the run is final and
   * everything has come. Goes on over lost connections and restarts of the server, behind the last event that was handled.
   * Leaving the loop ends the call. */
  follow(runId: string, from: Cursor = FROM_START, options: CallOptions = {}): AsyncGenerator<Event, void, undefined> {
    const connect = () => {
      const used = this.#connection;
      return {
        watch: (at: Cursor, signal: AbortSignal) =>
          used.runs.watchRun({ runId, afterSeq: at.seq, uid: at.uid, storeId: at.storeId }, { signal }),
        giveUp: () => {
          this.#giveUp(used);
        },
      };
    };
    return followed(connect, from, this.#reconnect, wallClock, options.signal);
  }

  /** Returns a run with its details once it has ended or is paused; goes on as `follow` does. Throws RunInterrupted. */
  async wait(runId: string, options: CallOptions = {}): Promise<Run> {
    const outage = new Outage(wallClock, this.#reconnect);
    const request = { runId, maxWait: { seconds: BigInt(WAIT_SECONDS) }, view: RunView.FULL };
    for (;;) {
      const used = this.#connection;
      try {
        const answer = await answered(used.runs.waitRun(request, this.#within(options, WAIT_SECONDS)), options);
        const run = theRun(answer);
        if (answer.reached) return run;
        if (run.interrupted) throw new RunInterrupted(run);
        outage.over();
      } catch (error) {
        options.signal?.throwIfAborted();
        if (!(error instanceof FlujoError) || !error.isGone) throw error;
        if (error.code === "DEADLINE_EXCEEDED") this.#giveUp(used);
        await outage.wait(error, options.signal);
      }
    }
  }

  /** Waits for a run and returns its output. Throws RunError for a run that has not completed. */
  async result<Output = Json>(runId: string, options: CallOptions = {}): Promise<Output> {
    const run = await this.wait(runId, options);
    if (run.status !== RunStatus.COMPLETED) throw new RunError(run);
    return decode(await this.text(run, run.details?.output, options)) as Output;
  }

  /** Returns the JSON text of a value that came with a run, or with an event of it. A large one is read from the server. */
  async text(run: Pick<Run, "runId" | "uid">, value: Payload | undefined, options: CallOptions = {}): Promise<string> {
    if (value?.content.case !== "reference") return value?.content.value ?? "null";
    const { seq, part } = value.content.value;
    const request = { runId: run.runId, uid: run.uid, seq, part };
    const pieces: Uint8Array[] = [];
    try {
      for await (const { chunk } of this.service.readPayload(request, { ...options })) pieces.push(chunk);
    } catch (error) {
      throw toError(error, options.signal);
    }
    return Buffer.concat(pieces).toString("utf8");
  }

  /** Sends a signal; with the same `requestId` it arrives once. Returns "recorded", "posted" or "stored". */
  async signal(
    runId: string,
    name: string,
    payload?: unknown,
    options: CallOptions & { requestId?: string } = {},
  ): Promise<string> {
    const request = { runId, name, requestId: options.requestId ?? randomUUID(), ...given("payload", payload) };
    return word(SignalOutcome, (await answered(this.service.signalRun(request, this.#within(options)), options)).outcome);
  }

  /** Asks a run to stop. Returns "requested", "cancelled" or "already_finished". */
  async cancel(runId: string, reason = "", options: CallOptions = {}): Promise<string> {
    const request = { runId, reason, requestId: randomUUID() };
    return word(CancelOutcome, (await answered(this.service.cancelRun(request, this.#within(options)), options)).outcome);
  }

  /** Asks a run to pause. Returns "requested", "paused" or "already_paused". */
  async pause(runId: string, reason = "", options: CallOptions = {}): Promise<string> {
    const request = { runId, reason, requestId: randomUUID() };
    return word(PauseOutcome, (await answered(this.service.pauseRun(request, this.#within(options)), options)).outcome);
  }

  /** Takes up a run that is failed, paused, cancelled or interrupted. */
  async resume(runId: string, options: ResumeOptions = {}): Promise<Run> {
    const request = {
      runId,
      fromStep: options.fromStep ?? "",
      retry: options.retry ?? [],
      requestId: options.requestId ?? randomUUID(),
      ...given("inputs", options.inputs),
    };
    return theRun(await answered(this.service.resumeRun(request, this.#within(options)), options));
  }

  /** Runs a step of a run again, and goes on from there. */
  retry(runId: string, step: string, options: CallOptions = {}): Promise<Run> {
    return this.resume(runId, { ...options, retry: [step] });
  }

  /** Starts a run with the history of another one. */
  async fork(runId: string, options: ForkOptions = {}): Promise<Started> {
    const request = {
      runId,
      newRunId: options.newRunId ?? "",
      fromStep: options.fromStep ?? "",
      labels: options.labels ?? {},
      requestId: options.requestId ?? randomUUID(),
      ...given("inputs", options.inputs),
    };
    const { run, created } = await answered(this.service.forkRun(request, this.#within(options)), options);
    return { runId: run?.runId ?? "", created };
  }

  /** Forgets runs that have settled, or says which would go. Call it again while the answer says `more`. */
  async prune(
    request: MessageInitShape<typeof PruneRunsRequestSchema>,
    options: CallOptions = {},
  ): Promise<PruneRunsResponse> {
    return answered(this.service.pruneRuns(request, this.#within(options, PRUNE_SECONDS)), options);
  }

  /** Takes a connection for lost, unless that was done already. */
  #giveUp(lost: Connection): void {
    if (this.#connection !== lost) return;
    this.#connection = this.#connect();
    lost.close();
  }

  #within(options: CallOptions, more = 0): ConnectOptions {
    const milliseconds = (this.#callSeconds + more) * 1000;
    const made: ConnectOptions = options.signal === undefined ? {} : { signal: options.signal };
    // A longer timer of Node fires at once.
    return milliseconds > LONGEST_TIMER ? made : { ...made, timeoutMs: milliseconds };
  }
}

function positive(name: string, seconds: number): number {
  if (!(seconds > 0)) throw new TypeError(`${name} is a number of seconds above 0, or Infinity for no bound`);
  return seconds;
}

function theRun(answer: { run?: Run | undefined }): Run {
  if (answer.run === undefined) throw new TypeError("the server has answered without a run");
  return answer.run;
}

async function answered<Answer>(call: Promise<Answer>, { signal }: CallOptions): Promise<Answer> {
  try {
    return await call;
  } catch (error) {
    throw toError(error, signal);
  }
}
