/** The driver of the client for Node: commands in, answers out, as clients/conformance/README.md says. */
import { createInterface } from "node:readline";

import { Client, decode, encode, FlujoError, RunStatus, statusText, type Options, type StartOptions } from "../src/index.js";

interface Command extends Options {
  do: string;
  client?: string;
  address: string;
  call_seconds?: number | "inf";
  workflow: string;
  name: string;
  step: string;
  inputs?: string;
  payload?: string;
  run_id: string;
  run_ids: string[];
  request_id?: string;
  new_run_id?: string;
  id_prefix: string;
  leave_at?: string;
  labels?: Record<string, string>;
  definition?: string;
  flow?: string;
  skip_steps?: string[];
  start_from?: string;
  timeout?: number;
  statuses: string[];
  dry_run: boolean;
  bare: boolean;
  starts: Command[];
}

const clients = new Map<string, Client>();

function say(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function told(error: unknown): object {
  if (!(error instanceof FlujoError)) return { message: String(error) };
  const { code, reason, message, fields, hints } = error;
  return { code, reason, message, fields: fields.map(({ field }) => field), hints };
}

function open(given: Command): object {
  const { token, ca, certificate, key, call_seconds: seconds } = given;
  const shown = Object.fromEntries(Object.entries({ token, ca, certificate, key }).filter(([, value]) => value));
  const options = seconds === undefined ? shown : { ...shown, callSeconds: seconds === "inf" ? Infinity : seconds };
  clients.get(given.client ?? "main")?.close();
  clients.set(given.client ?? "main", new Client(given.address, options));
  return {};
}

function read(text: string | undefined): object | undefined {
  return text === undefined ? undefined : (decode(text) as object);
}

function named(given: Command): { requestId?: string } {
  return given.request_id === undefined ? {} : { requestId: given.request_id };
}

async function perform(given: Command): Promise<object> {
  if (given.do === "open") return open(given);
  const client = clients.get(given.client ?? "main");
  if (client === undefined) throw new Error("no such client");
  const inputs = read(given.inputs);
  const changed = inputs === undefined ? {} : { inputs };
  switch (given.do) {
    case "start": {
      const { runId, created } = await client.start(given.workflow, inputs, startOptions(given));
      return { run_id: runId, created };
    }
    case "starts":
      return starts(client, given.starts);
    case "get": {
      const run = await client.get(given.run_id);
      return { status: statusText(run.status), seq: run.seq.toString() };
    }
    case "list": {
      const found: string[] = [];
      for await (const run of client.list({ idPrefix: given.id_prefix })) found.push(run.runId);
      return { run_ids: found };
    }
    case "wait": {
      const run = await client.wait(given.run_id);
      const status = statusText(run.status);
      if (run.status !== RunStatus.COMPLETED) return { status };
      return { status, output: encode(await client.result(given.run_id)) };
    }
    case "follow":
      return follow(client, given);
    case "follows":
      return follows(client, given.run_ids);
    case "time":
      return timed(client, given);
    case "signal": {
      const payload = given.payload === undefined ? undefined : decode(given.payload);
      return { outcome: await client.signal(given.run_id, given.name, payload, named(given)) };
    }
    case "cancel":
      return { outcome: await client.cancel(given.run_id) };
    case "pause":
      return { outcome: await client.pause(given.run_id) };
    case "resume":
      return { run_id: (await client.resume(given.run_id, changed)).runId };
    case "retry":
      return { run_id: (await client.retry(given.run_id, given.step)).runId };
    case "fork": {
      const ids = given.new_run_id === undefined ? {} : { newRunId: given.new_run_id };
      const { runId, created } = await client.fork(given.run_id, { ...ids, ...changed });
      return { run_id: runId, created };
    }
    case "prune": {
      const statuses = given.statuses.map((name) => RunStatus[name.toUpperCase() as keyof typeof RunStatus]);
      const filter = { idPrefix: given.id_prefix, statuses };
      return { total: Number((await client.prune({ filter, dryRun: given.dry_run })).total) };
    }
    default:
      throw new Error(`no command ${given.do}`);
  }
}

function startOptions(given: Command): StartOptions {
  const ids = given.run_id ? { runId: given.run_id } : {};
  const { definition, flow, skip_steps: skipSteps, start_from: startFrom, timeout: timeoutSeconds } = given;
  const chosen = Object.fromEntries(
    Object.entries({ definition, flow, skipSteps, startFrom, timeoutSeconds }).filter(([, value]) => value !== undefined),
  );
  return { ...ids, ...named(given), ...chosen, labels: given.labels ?? {} };
}

async function starts(client: Client, asked: Command[]): Promise<object> {
  const runs = asked.map((each) => {
    const inputs = read(each.inputs);
    return { ...startOptions(each), workflow: each.workflow, ...(inputs === undefined ? {} : { inputs }) };
  });
  const outcomes = await client.startRuns(runs);
  return {
    outcomes: outcomes.map((each) =>
      each instanceof FlujoError ? { error: told(each) } : { run_id: each.runId, created: each.created },
    ),
  };
}

async function follow(client: Client, given: Command): Promise<object> {
  for await (const event of client.follow(given.run_id)) {
    const seq = event.seq.toString();
    say({ event: { seq, type: event.type } });
    if (seq === given.leave_at) return { left: true };
  }
  return { status: statusText((await client.get(given.run_id)).status) };
}

async function follows(client: Client, runIds: string[]): Promise<object> {
  let waiting = runIds.length;
  const counts = runIds.map(async (runId) => {
    let count = 0;
    for await (const event of client.follow(runId)) {
      count += 1;
      if (event.seq === 1n && --waiting === 0) say({ event: { open: runIds.length } });
    }
    return count;
  });
  return { events: await Promise.all(counts) };
}

async function timed(client: Client, given: Command): Promise<object> {
  const began = performance.now();
  let events = 0;
  if (given.bare) {
    for await (const { content } of client.service.watchRun({ runId: given.run_id })) {
      if (content.case === "events") events += content.value.events.length;
    }
  } else {
    // eslint-disable-next-line @typescript-eslint/no-unused-vars -- it is counted
    for await (const _ of client.follow(given.run_id)) events += 1;
  }
  return { seconds: (performance.now() - began) / 1000, events };
}

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  try {
    say({ ok: await perform(JSON.parse(line) as Command) });
  } catch (error) {
    say({ error: told(error) });
  }
}
for (const client of clients.values()) client.close();
