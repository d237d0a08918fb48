/** Starts a run, shows how far it is, also while the server is killed and started again, prints its result, lists the
 * runs of its workflow, and forgets those that have ended.
 *
 *     node build/examples/bar.js unix:.flujo/server.sock
 */
import { Client, statusText, type Options } from "../src/index.js";

const [, , address] = process.argv;
if (address === undefined) {
  console.error("usage: bar ADDRESS");
  process.exit(2);
}
const { FLUJO_TOKEN: token, FLUJO_TLS_CA: ca } = process.env;
const shown: Options = { ...(token === undefined ? {} : { token }), ...(ca === undefined ? {} : { ca }) };
const client = new Client(address, shown);
try {
  const { runId } = await client.start("ten-parts", { pause: "1s" }, { labels: { from: "node" } });
  let done = 0;
  for await (const event of client.follow(runId)) {
    if (event.fact.case === "stepCompleted" && event.fact.value.step.startsWith("parts[")) {
      done += 1;
      process.stdout.write(`\r[${"#".repeat(done).padEnd(10)}] ${done.toString()} of 10`);
    }
  }
  console.log("\nresult:", await client.result(runId));
  for await (const run of client.list({ workflow: "ten-parts" })) console.log(run.runId, statusText(run.status));
  const { total } = await client.prune({ filter: { workflow: "ten-parts" } });
  console.log("forgotten:", total.toString());
} finally {
  client.close();
}
