#!/usr/bin/env bash
# Metaflow: a foreach over a set of texts does some items twice and others never, and the run is a success.
#
# A flow fans out over the names of parcels, once in a list and once in a set, and joins what its tasks have handled. A set is what
# names without repeats come in.
# Guess:     foreach takes what can be iterated, so each item has one task. Or what has no order is refused, as other values are
#            that foreach cannot take: an int, or an empty list.
# Behaviour: each task is a process that is told a number, reads the set and counts up to that number. Python orders a set of texts
#            otherwise in each process, so two tasks can find the same name at their numbers, and a name can be at none. There are
#            twelve tasks and twelve successes. A set of numbers has the same order in each process, and hides it in a test;
#            so does PYTHONHASHSEED, where it is set. It is issue 469 of Metaflow, open since 2021.
# Seen with: metaflow 2.19.39, Python 3.11.7 on Linux, without a service:
#
#     list of 3 texts: 3 tasks, all parcels, Successful
#     set of 12 texts: 12 tasks, not all parcels, Successful
#
# So: sorted(…) before a foreach. In flujo the items of a set in ctx.map have their numbers by what they hold, which no process changes.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > parcels.py <<'PYTHON'
from metaflow import FlowSpec, Parameter, step


class Parcels(FlowSpec):
    kind = Parameter("kind")
    count = Parameter("count", type=int)

    @step
    def start(self):
        names = [f"parcel {number}" for number in range(self.count)]
        self.parcels = set(names) if self.kind == "set" else names
        self.next(self.handle, foreach="parcels")

    @step
    def handle(self):
        self.handled = self.input
        self.next(self.join)

    @step
    def join(self, inputs):
        self.merge_artifacts(inputs, include=["count"])
        handled = [each.handled for each in inputs]
        print(f"HANDLED {len(handled)} tasks,", "all parcels" if len(set(handled)) == self.count else "not all parcels")
        self.next(self.end)

    @step
    def end(self):
        print("ENDED Successful")


if __name__ == "__main__":
    Parcels()
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check metaflow==2.19.39 > log 2>&1 || { cat log; exit 1; }
export USERNAME=nobody METAFLOW_HOME="$folder/home" METAFLOW_DATASTORE_SYSROOT_LOCAL="$folder/store"
unset PYTHONHASHSEED
for kind in list/3 set/12; do  # that twelve processes agree by chance happens once in 18,000 times
    venv/bin/python parcels.py --quiet run --kind ${kind%/*} --count ${kind#*/} --max-workers 2 > log 2>&1 || { cat log; exit 1; }
    said="${kind%/*} of ${kind#*/} texts: $(sed -n 's/.*HANDLED //p' log), $(sed -n 's/.*ENDED //p' log)"
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done
