import assert from "node:assert/strict";
import { createServer } from "node:http2";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { test } from "node:test";

import { sessions } from "../src/connection.js";

test("a ping over a connection that was destroyed does nothing", async (context) => {
  const server = createServer((_, response) => response.end());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const manager = sessions(`http://127.0.0.1:${(server.address() as AddressInfo).port.toString()}`, {});
  context.after(() => {
    manager.abort();
    server.close();
  });
  const stream = await manager.request("POST", "/", {}, {});
  const { session } = stream;
  assert(session !== undefined);
  assert.equal(await new Promise((resolve) => session.ping((error) => { resolve(error); })), null);
  stream.on("error", () => undefined);
  session.destroy();

  assert.equal(session.ping(() => undefined), false); // Node throws ERR_HTTP2_INVALID_SESSION
});
