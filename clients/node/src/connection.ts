import { readFileSync } from "node:fs";
import type { Http2Session } from "node:http2";
import { connect as connectSocket } from "node:net";

import type { Interceptor } from "@connectrpc/connect";
import { createClient, type Client, type Transport } from "@connectrpc/connect";
import { createGrpcTransport, Http2SessionManager } from "@connectrpc/connect-node";

import { RunService } from "./gen/flujo/v1/run_service_pb.js";
import { SystemService } from "./gen/flujo/v1/system_service_pb.js";

/** What a client shows a server, and how long it waits. Nothing is needed on a unix socket. */
export interface Options {
  /** Shown to a server that listens on TCP. */
  token?: string;
  /** File with the authority that has signed the server's certificate. Turns TLS on. */
  ca?: string;
  /** Files with a certificate of the client's own and its key, for a server that asks for one. */
  certificate?: string;
  key?: string;
  /** Bounds each call but those that follow a run; 30 by default, Infinity for no bound. */
  callSeconds?: number;
  /** How long those look for a server that has gone; 60 by default. */
  reconnectSeconds?: number;
}

/** One connection, made with the first call. */
export interface Connection {
  readonly runs: Client<typeof RunService>;
  readonly system: Client<typeof SystemService>;
  close(): void;
}

/** Returns what makes connections to a server at `unix:PATH` or `tcp://HOST:PORT`. Throws TypeError for an address that is
 * none, and for credentials that must not be sent there. */
export function connector(address: string, options: Options): () => Connection {
  const { baseUrl, nodeOptions } = target(address, options);
  const interceptors: Interceptor[] = [];
  if (options.token !== undefined) {
    const shown = `Bearer ${options.token}`;
    interceptors.push((next) => (request) => {
      request.header.set("authorization", shown);
      return next(request);
    });
  }
  return () => {
    const sessionManager = sessions(baseUrl, nodeOptions);
    const transport: Transport = createGrpcTransport({ baseUrl, interceptors, sessionManager });
    return {
      runs: createClient(RunService, transport),
      system: createClient(SystemService, transport),
      close: () => {
        sessionManager.abort();
      },
    };
  };
}

/** Returns what keeps a connection: a path that has gone dead is noticed. Servers allow a ping each 10 s. */
export function sessions(baseUrl: string, nodeOptions: object): Http2SessionManager {
  const pings = { pingIntervalMs: 20_000, pingTimeoutMs: 10_000, pingIdleConnection: true };
  const manager = new Http2SessionManager(baseUrl, pings, nodeOptions);
  const request = manager.request.bind(manager);
  manager.request = async (...parts) => {
    const stream = await request(...parts);
    if (stream.session !== undefined) pingOnlyOpen(stream.session);
    return stream;
  };
  return manager;
}

const guarded = new WeakSet<Http2Session>();

/** Has a ping over a connection that was just destroyed do nothing. Node throws, and the timer of connect-node that pings
 * (2.1.2, connect-es issue 1795) ends the whole program by that. */
function pingOnlyOpen(session: Http2Session): void {
  if (guarded.has(session)) return;
  guarded.add(session);
  const ping = session.ping.bind(session) as (...parts: unknown[]) => boolean;
  session.ping = (...parts: unknown[]) => !session.destroyed && ping(...parts);
}

function target(address: string, options: Options): { baseUrl: string; nodeOptions: object } {
  if ((options.certificate === undefined) !== (options.key === undefined)) {
    throw new TypeError("a certificate and its key go together");
  }
  if (/[^!-~]/.test(options.token ?? "")) {
    throw new TypeError("a token is visible ASCII characters only; strip the end of the line from one that was read from a file");
  }
  if (options.certificate !== undefined && options.ca === undefined) {
    throw new TypeError("a certificate needs TLS; pass `ca` as well");
  }
  const unix = /^unix:(?:\/\/(?=\/))?(.+)$/s.exec(address);
  if (unix?.[1] !== undefined) {
    const path = unix[1];
    return { baseUrl: "http://localhost", nodeOptions: { createConnection: () => connectSocket(path) } };
  }
  const tcp = /^(?:tcp:\/\/)?(\[[0-9a-f:.]+\]|[\w.-]+):(\d{1,5})\/?$/i.exec(address);
  if (tcp?.[1] === undefined || tcp[2] === undefined || Number(tcp[2]) > 65_535) {
    throw new TypeError(`${JSON.stringify(address)} is neither unix:PATH nor tcp://HOST:PORT`);
  }
  if (options.ca === undefined) {
    if (!/^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(tcp[1])) {
      throw new TypeError(`without TLS everybody on the way to ${tcp[1]} reads and changes what is sent; pass \`ca\``);
    }
    return { baseUrl: `http://${tcp[1]}:${tcp[2]}`, nodeOptions: {} };
  }
  const own =
    options.certificate === undefined || options.key === undefined
      ? {}
      : { cert: readFileSync(options.certificate), key: readFileSync(options.key) };
  return { baseUrl: `https://${tcp[1]}:${tcp[2]}`, nodeOptions: { ca: readFileSync(options.ca), ...own } };
}
