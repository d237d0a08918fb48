#!/usr/bin/env bash
# AWS durable execution in Python: a step's result keeps its tuples and dates, and loses entries of a dict that has numbers as
# keys.
#
# Guess:     the serializer's envelope has a tag for each type, and its page promises that types are preserved in a round
#            trip: tuple, Decimal, UUID, date and bytes come back as they were. So a dict's keys do, or are refused: a tuple
#            as a key is refused.
# Behaviour: values are tagged, keys are not. They become text on the way through JSON, without a word, and where 1 and "1"
#            are both keys one entry is dropped. It happens in the first run too, as the SDK hands out what it would read
#            again after a replay.
# Seen with: aws-durable-execution-sdk-python 3.0.0, aws-durable-execution-sdk-python-testing 1.4.0 (its local runner), Python
#            3.11.7:
#
#     a tuple with a Decimal: (1, Decimal('2.50')) as (1, Decimal('2.50'))
#     numbers as keys: {1: 'a', 2: 'b'} as {'1': 'a', '2': 'b'}
#     a number and its text as keys: {1: 'a', '1': 'b'} as {'1': 'b'}
#     a tuple as a key: {(1, 2): 'a'} as SerDesError: Tuple keys not supported
#
# So: refuse keys that are not text, as loudly as other types that cannot be kept.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > results.py <<'PYTHON'
import json
from decimal import Decimal

from aws_durable_execution_sdk_python.config import StepConfig
from aws_durable_execution_sdk_python.execution import durable_execution
from aws_durable_execution_sdk_python.retries import RetryPresets
from aws_durable_execution_sdk_python_testing.runner import DurableFunctionTestRunner

RESULTS = {
    "a tuple with a Decimal": (1, Decimal("2.50")),
    "numbers as keys": {1: "a", 2: "b"},
    "a number and its text as keys": {1: "a", "1": "b"},
    "a tuple as a key": {(1, 2): "a"},
}


@durable_execution
def handler(event, context):
    seen = {}
    for name, result in RESULTS.items():
        try:
            got = context.step(lambda _, result=result: result, name, StepConfig(retry_strategy=RetryPresets.none()))
            seen[name] = repr(got)
        except Exception as error:
            seen[name] = f"{type(error).__name__}: {error}"
    return seen


with DurableFunctionTestRunner(handler=handler) as runner:
    answer = runner.run(input="{}", timeout=30)
for name, got in json.loads(answer.result).items():
    print(f"{name}: {RESULTS[name]} as {got}")
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check \
    aws-durable-execution-sdk-python==3.0.0 aws-durable-execution-sdk-python-testing==1.4.0
venv/bin/python results.py 2>>log > output || { echo "changed: it fails"; cat log; exit 1; }
while read -r said; do
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
done < output
