import { Code, ConnectError } from "@connectrpc/connect";
import { findTrailerError } from "@connectrpc/connect/protocol-grpc";

import type { Run } from "./gen/flujo/v1/run_pb.js";
import type { StartRefusal } from "./gen/flujo/v1/run_service_pb.js";
import { BadRequestSchema, ErrorInfoSchema } from "./gen/google/rpc/error_details_pb.js";
import { statusText } from "./values.js";

/** What is wrong with a field of a request, which is named by its path. */
export interface FieldError {
  field: string;
  description: string;
}

/** What a call fails with. */
export class FlujoError extends Error {
  override name = "FlujoError";

  constructor(
    message: string,
    /** The code of gRPC: "NOT_FOUND". */
    readonly code: string,
    /** What is wrong, as the contract lists it: "RUN_NOT_FOUND". Empty for what no server said. */
    readonly reason = "",
    /** What may help, a command each. */
    readonly hints: readonly string[] = [],
    /** The fields of the request that are wrong. */
    readonly fields: readonly FieldError[] = [],
    /** The values that the message mentions. */
    readonly metadata: Readonly<Record<string, string>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  /** Whether a call that follows a run may go on later: no server answers, it is closing or busy, or the connection broke. */
  get isGone(): boolean {
    if (this.reason !== "") return this.reason === "SERVER_STOPPING" || this.reason === "TOO_MANY_CALLS";
    return this.code === "UNAVAILABLE" || this.code === "DEADLINE_EXCEEDED";
  }
}

/** What `result` fails with for a run that has not completed. */
export class RunError extends Error {
  override name = "RunError";

  constructor(readonly run: Run) {
    const why = run.error === undefined ? "" : `: ${run.error.type}: ${run.error.message}`;
    super(`the run ${run.runId} is ${statusText(run.status)}${why}`);
  }
}

/** What `wait` and `result` fail with for a run that ought to run and that no live process runs. */
export class RunInterrupted extends Error {
  override name = "RunInterrupted";

  constructor(readonly run: Run) {
    super(`no live process runs ${run.runId}; resume it, or start a server that knows its workflow`);
  }
}

/** Returns what an error of Connect tells, for a call that its caller could end by a signal. */
export function toError(error: unknown, signal?: AbortSignal): FlujoError {
  const told = ConnectError.from(error);
  const info = told.findDetails(ErrorInfoSchema).find((each) => each.domain === "flujo");
  const fields = told.findDetails(BadRequestSchema).flatMap((each) => each.fieldViolations);
  return new FlujoError(
    told.rawMessage,
    info === undefined && broke(told.code, signal) ? "UNAVAILABLE" : codeText(told.code),
    info?.reason,
    info?.metadata.hints?.split("\n"),
    fields.map(({ field, description }) => ({ field, description })),
    info?.metadata,
    { cause: error },
  );
}

/** Returns the error that a start which was refused among others would have thrown; of a very long answer without its
 * details. They come as they do in a trailer, so they are read like one. */
export function refused({ code, reason, message, status }: StartRefusal): FlujoError {
  const details = Buffer.from(status).toString("base64");
  const trailer = new Headers({ "grpc-status": code.toString(), "grpc-status-details-bin": details });
  try {
    const told = toError(findTrailerError(trailer));
    if (told.reason === reason) return told;
  } catch {
    // The details cannot be read: a later server may send them in another way.
  }
  return new FlujoError(message, codeText(code), reason);
}

/** Whether a code without a reason means that there is no connection. Connect says `internal` where there is no server,
 * `canceled` or `aborted` where it broke. What flujo answers with these codes has a reason. */
function broke(code: Code, signal: AbortSignal | undefined): boolean {
  return code === Code.Internal || code === Code.Aborted || (code === Code.Canceled && signal?.aborted !== true);
}

/** Returns the name of a code as gRPC spells it. */
function codeText(code: number): string {
  if (code === (Code.Canceled as number)) return "CANCELLED";
  return Code[code]?.replace(/(?<=[a-z])(?=[A-Z])/g, "_").toUpperCase() ?? "UNKNOWN";
}
