import { randomUUID } from "node:crypto";

import { create, toBinary, type MessageInitShape } from "@bufbuild/protobuf";

import { FlujoError, refused } from "./errors.js";
import {
  StartRunRequestSchema,
  StartRunsRequestSchema,
  type StartOutcome,
  type StartRunRequest,
  type StartRunsRequest,
} from "./gen/flujo/v1/run_service_pb.js";
import { duration, given, type CallOptions } from "./values.js";

const MOST_STARTS = 1000;
/** Of the starts of one call, which leaves room below what gRPC takes. */
export const MOST_START_BYTES = 3 * 1024 * 1024;

export interface StartOptions extends CallOptions {
  /** Names the run; without one the server makes an id. */
  runId?: string;
  /** Makes a repeat of this start harmless; without one the client makes an id. */
  requestId?: string;
  /** For finding the run. */
  labels?: Record<string, string>;
  /** A YAML document that is run instead of a workflow the server knows; `workflow` is what messages call it. */
  definition?: string;
  /** The flow of the workflow whose steps are performed, or "all"; without one the flow that the workflow names. */
  flow?: string;
  /** Names of steps to skip whenever they are reached. */
  skipSteps?: string[];
  /** The step to begin with: those that come before it are skipped. */
  startFrom?: string;
  /** How long the run may take from its start, and again from each resume, before it fails; without it, as long as the
   * workflow says. */
  timeoutSeconds?: number;
}

/** One of many runs to start: what `start` takes. */
export interface NewRun extends Omit<StartOptions, "signal"> {
  workflow: string;
  inputs?: object;
}

/** A run that was started, or was there. */
export interface Started {
  runId: string;
  created: boolean;
}

/** Returns the request to start a run. Throws TypeError for inputs that are no JSON, and for a time that is no number. */
export function startRequest(run: NewRun): StartRunRequest {
  return create(StartRunRequestSchema, {
    source: source(run),
    runId: run.runId ?? "",
    requestId: run.requestId ?? randomUUID(),
    labels: run.labels ?? {},
    flow: run.flow ?? "",
    skipSteps: run.skipSteps ?? [],
    startFrom: run.startFrom ?? "",
    ...(run.timeoutSeconds === undefined ? {} : { timeout: duration("timeoutSeconds", run.timeoutSeconds) }),
    ...given("inputs", run.inputs),
  });
}

function source({ workflow, definition }: NewRun): NonNullable<MessageInitShape<typeof StartRunRequestSchema>["source"]> {
  if (definition === undefined) return { case: "workflow", value: workflow };
  return { case: "definition", value: { text: definition, name: workflow } };
}

/** Returns the requests that ask for these starts, in their order. Throws FlujoError for more than are taken. */
export function inCalls(starts: readonly StartRunRequest[]): StartRunsRequest[] {
  if (starts.length > MOST_STARTS) {
    const [most, description] = [MOST_STARTS.toString(), `at most ${MOST_STARTS.toString()} of them`];
    throw new FlujoError(
      `${starts.length.toString()} starts are more than one call takes`,
      "INVALID_ARGUMENT",
      "INVALID_FIELD",
      [`start at most ${most} of them at a time`],
      [{ field: "starts", description }],
    );
  }
  const calls: StartRunsRequest[] = [];
  let room = 0;
  for (const start of starts) {
    const size = toBinary(StartRunRequestSchema, start).length;
    let last = calls.at(-1);
    if (last === undefined || size > room) {
      last = create(StartRunsRequestSchema);
      calls.push(last);
      room = MOST_START_BYTES;
    }
    last.starts.push(start);
    room -= size;
  }
  return calls;
}

/** Returns the run of an outcome, or why there is none. */
export function startOutcome({ runId, created, refusal }: StartOutcome): Started | FlujoError {
  return refusal === undefined ? { runId, created } : refused(refusal);
}
