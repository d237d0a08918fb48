/** A client of a flujo server: see `Client`. */
export { Client } from "./client.js";
export type { ForkOptions, ResumeOptions } from "./client.js";
export type { Options } from "./connection.js";
export { FlujoError, RunError, RunInterrupted } from "./errors.js";
export type { FieldError } from "./errors.js";
export { FROM_START } from "./follow.js";
export type { Cursor } from "./follow.js";
export type { NewRun, StartOptions, Started } from "./starts.js";
export { decode, encode, statusText } from "./values.js";
export type { CallOptions, Json } from "./values.js";
export type { Event } from "./gen/flujo/v1/event_pb.js";
export { RunStatus } from "./gen/flujo/v1/run_pb.js";
export type { Run, RunDetails, Step } from "./gen/flujo/v1/run_pb.js";
export type { PruneRunsRequest, PruneRunsResponse, RunFilter } from "./gen/flujo/v1/run_service_pb.js";
