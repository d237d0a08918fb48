import { type Duration, durationFromMs } from "@bufbuild/protobuf/wkt";
import { isSafeNumber, parse, stringify } from "lossless-json";

import { RunStatus } from "./gen/flujo/v1/run_pb.js";

/** What JSON text becomes. A whole number that a number of JavaScript cannot hold is a bigint. */
export type Json = null | boolean | number | bigint | string | Json[] | { [name: string]: Json };

/** What ends a call early. */
export interface CallOptions {
  signal?: AbortSignal;
}

const MANY_DIGITS = /\d{16}/;

/** Returns the value in JSON text, with all digits of whole numbers. */
export function decode(text: string): Json {
  if (!MANY_DIGITS.test(text)) return JSON.parse(text) as Json; // the usual, and much faster
  return parse(text, null, (digits) =>
    /^-?\d+$/.test(digits) && !isSafeNumber(digits) ? BigInt(digits) : Number(digits),
  ) as Json;
}

/** What JSON.stringify would write as 0. */
const NEGATIVE_ZERO = { test: (value: unknown) => Object.is(value, -0), stringify: () => "-0.0" };

/** Returns a value as JSON text; a bigint is a whole number. Throws TypeError for what is no JSON. */
export function encode(value: unknown): string {
  const text = stringify(value, null, undefined, [NEGATIVE_ZERO]);
  if (text === undefined) throw new TypeError(`${typeof value} is no JSON`);
  return text;
}

interface GivenPayload {
  content: { case: "json"; value: string };
}

/** Returns a part of a request that holds a value as JSON, or none. */
export function given<Name extends string>(name: Name, value: unknown): Partial<Record<Name, GivenPayload>> {
  if (value === undefined) return {};
  const made: Partial<Record<Name, GivenPayload>> = {};
  made[name] = { content: { case: "json", value: encode(value) } };
  return made;
}

/** Returns seconds as a Duration, to the millisecond. Throws TypeError for what is no number. */
export function duration(name: string, seconds: number): Duration {
  if (!Number.isFinite(seconds)) throw new TypeError(`${name} is ${seconds.toString()}, and no number of seconds`);
  return durationFromMs(Math.round(seconds * 1000));
}

/** Returns a status as flujo says it everywhere: "completed". One of a newer server is "unknown (42)". */
export function statusText(status: RunStatus): string {
  return word(RunStatus, status);
}

/** Returns the name of a value of a generated enum as a word. */
export function word(names: Record<number, string | number>, value: number): string {
  const name = names[value];
  return value === 0 || typeof name !== "string" ? `unknown (${value.toString()})` : name.toLowerCase();
}
