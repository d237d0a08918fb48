#!/usr/bin/env bash
# Prefect: a task that is given a set of texts is not found in its cache by the next process, and {1: …} finds the result of {"1": …}.
#
# The cache policy INPUTS names the result of a task by its inputs. The key of the same inputs is computed in three processes, as a
# run, its repeat after a crash, and another one would do it; Python orders sets of texts otherwise in each process, which is fixed
# here by PYTHONHASHSEED so that the outcome is the same each time.
# Guess:     equal inputs have the same key in each process, and others have another one. A set has no order, so its key has none.
# Behaviour: inputs are hashed as JSON. Sets are written as lists, in the order in which they are met, and so the key of
#            {"milk", "salt", "tea"} changes from process to process: what was persisted is computed again, in most runs and not
#            in all. Sorting is on, for the keys of dicts. Those become text, so {1: "a"} and {"1": "a"} share a key: the task is
#            not called with the second, and the result is that of the first. A dict with both kinds of keys is hashed in another way.
# Seen with: prefect 3.9.1, Python 3.11.7 (no server is needed):
#
#     a list of texts: 1 key in 3 processes
#     a set of numbers: 1 key in 3 processes
#     a set of texts: 3 keys in 3 processes
#     {1: "a"} and {"1": "a"}: the same key
#     1 and "1": another key
#
# So: give such tasks sorted lists and text for keys. flujo sorts sets before it compares the arguments of a step, and its page on values
# says of numbers as keys that they count as their text.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > keys.py <<'PYTHON'
from prefect.cache_policies import INPUTS


def key(value):
    return INPUTS.compute_key(task_ctx=None, inputs={"what": value}, flow_parameters={})


print("a list of texts:", key(["milk", "salt", "tea"]))
print("a set of numbers:", key({3, 1, 2}))
print("a set of texts:", key({"milk", "salt", "tea"}))
print('{1: "a"} and {"1": "a"}:', "the same key" if key({1: "a"}) == key({"1": "a"}) else "another key")
print('1 and "1":', "the same key" if key(1) == key("1") else "another key")
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check prefect==3.9.1 > log 2>&1 || { cat log; exit 1; }
for seed in 1 2 3; do
    PREFECT_HOME="$folder/home" PYTHONHASHSEED=$seed venv/bin/python keys.py 2> log || { cat log; exit 1; }
done > said
for what in "a list of texts" "a set of numbers" "a set of texts"; do
    number=$(grep "^$what: " said | sort -u | wc -l)
    echo "$what: $number $([ "$number" = 1 ] && echo key || echo keys) in 3 processes"
done > told
grep '^{1\|^1 ' said | sort -u >> told
while IFS= read -r line; do
    echo "$line"
    grep -qxF "#     $line" "$script" || { echo "changed: not what was seen before"; exit 1; }
done < told
[ "$(wc -l < told)" = 5 ]
