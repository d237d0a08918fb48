#!/usr/bin/env bash
# OpenWorkflow: a `catch` around a step or a pause takes the further attempts of the step away and ends the pause at once.
#
# A workflow asks a shop for a price, in a step with three attempts whose first two fail, then pauses for an hour in which it holds a
# place in a queue. One form of it has a fallback price in a `catch` around the step, and a `finally` around the pause; the other
# form catches nothing.
# Guess:     the program sees a step's failure when the attempts of its retry policy are used up, so a fallback is for the last
#            failure. A pause is `await`ed: what is written behind it in the same block runs an hour later.
# Behaviour: the attempts and the pause are made by errors that are thrown through the workflow: the first failure of a step
#            is thrown as StepError, a pause as an error that says "sleep". Whoever catches them has taken them away: the step has
#            failed after one attempt of three, and the run goes on (and here completes) in the second in which it began its hour.
#            Without a `catch` both do what their words say; a `finally` alone runs at the beginning of the pause, and once more
#            behind it.
# Seen with: openworkflow 0.9.2 and 0.10.1, Node 24.21.0 (its node:sqlite, by the npm package node):
#
#     0.9.2 catching: caught StepError after 1 attempts; caught SleepSignal; completed with price 0
#     0.9.2 plain: price after 3 attempts; waits
#     0.9.2 finally: left the block; waits
#     0.10.1 catching: caught StepError after 1 attempts; caught SleepSignalError; completed with price 0
#     0.10.1 plain: price after 3 attempts; waits
#     0.10.1 finally: left the block; waits
#
# So: with such engines put a fallback into the step's function, and nothing that gives back what is held around a wait. In flujo
# a step raises when its policy has given up, and neither `except` nor `finally` runs because a run waits or leaves memory.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > order.mjs <<'JS'
import { OpenWorkflow } from "openworkflow";
import { BackendSqlite } from "openworkflow/sqlite";

const form = process.argv[2];
const backend = BackendSqlite.connect(`${form}.db`);
const engine = new OpenWorkflow({ backend });
const said = [];
let attempts = 0;

async function ask() {
  attempts += 1;
  if (attempts < 3) throw new Error("the shop is busy");
  return 42;
}

const retryPolicy = { initialInterval: "10ms", maximumAttempts: 3 };
const forms = {
  async catching({ step }) {
    let price;
    try {
      price = await step.run({ name: "ask", retryPolicy }, ask);
    } catch (error) {
      said.push(`caught ${error.name} after ${attempts} attempts`);
      price = 0;
    }
    try {
      await step.sleep("pause", "1h");
    } catch (error) {
      said.push(`caught ${error.name}`);
    }
    return price;
  },
  async plain({ step }) {
    await step.run({ name: "ask", retryPolicy }, ask);
    said.push(`price after ${attempts} attempts`);
    await step.sleep("pause", "1h");
  },
  async finally({ step }) {
    try {
      await step.sleep("pause", "1h");
    } finally {
      said.push("left the block");
    }
  },
};

const workflow = engine.defineWorkflow({ name: form }, forms[form]);
const worker = engine.newWorker();
await worker.start();
const handle = await workflow.run();
for (;;) {
  const { status, output, availableAt } = await backend.getWorkflowRun({ workflowRunId: handle.workflowRun.id });
  const isAsleep = status !== "completed" && availableAt - Date.now() > 1_800_000; // nobody takes the run before
  if (status === "completed") said.push(`completed with price ${output}`);
  if (isAsleep) said.push("waits");
  if (status === "completed" || isAsleep) break;
  await new Promise((resolve) => setTimeout(resolve, 50));
}
console.log(`${form}: ${said.join("; ")}`);
process.exit(0);
JS

for version in 0.9.2 0.10.1; do
    mkdir "$version"
    cp order.mjs "$version"
    cd "$version"
    npm init --yes > npm.log
    npm install --silent --no-audit --no-fund "openworkflow@$version" node@24.21.0 >> npm.log 2>&1 || { cat npm.log; exit 1; }
    for form in catching plain finally; do
        node_modules/.bin/node --no-warnings order.mjs "$form" 2> log | sed "s/^/$version /" | tee -a ../seen.log
    done
    cd ..
done
diff <(sed -n 's/^#     \([0-9]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; cat ./*/log; exit 1; }
