#!/usr/bin/env bash
# LangGraph, Prefect, Temporal: a deque that keeps the last three items keeps all of them once it has been stored.
#
# A state, a result and a payload hold deque([1, 2, 3], maxlen=3), a window over the latest values. It is written and read by
# what each engine uses for that: LangGraph's serializer of checkpoints, Prefect's JSON serializer of results, Temporal's
# converter for pydantic with the type given as a hint. Then a fourth item is appended.
# Guess:     a deque is among the types that these three know by name, so it comes back as it was, or is refused.
# Behaviour: all three give back a deque, equal to the one that was written and without its bound. Nothing warns. The window
#            grows from then on, and in the first two only in the runs that were interrupted, since a run that goes through keeps
#            the object it has.
# Seen with: langgraph-checkpoint 4.3.2, prefect 3.9.1, temporalio 1.35.0, pydantic 2.14.4, Python 3.11.7:
#
#     langgraph: equal True, maxlen None, after one more [1, 2, 3, 4]
#     prefect: equal True, maxlen None, after one more [1, 2, 3, 4]
#     temporal: equal True, maxlen None, after one more [1, 2, 3, 4]
#
# So: keep a list and cut it yourself, or store the bound beside it. An engine cannot rely on `==` to tell whether a value has
# survived; flujo refuses such a deque before it is recorded.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > window.py <<'PYTHON'
import sys
from collections import deque


def through_langgraph(value):
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    serializer = JsonPlusSerializer()
    return serializer.loads_typed(serializer.dumps_typed(value))


def through_prefect(value):
    from prefect.serializers import JSONSerializer

    serializer = JSONSerializer()
    return serializer.loads(serializer.dumps(value))


def through_temporal(value):
    from temporalio.contrib.pydantic import pydantic_data_converter

    converter = pydantic_data_converter.payload_converter
    return converter.from_payloads(converter.to_payloads([value]), [deque[int]])[0]


window = deque([1, 2, 3], maxlen=3)
again = {"langgraph": through_langgraph, "prefect": through_prefect, "temporal": through_temporal}[sys.argv[1]](window)
told = f"{sys.argv[1]}: equal {again == window}, maxlen {again.maxlen}"
again.append(4)
print(f"{told}, after one more {list(again)}")
PYTHON

for engine in langgraph/langgraph-checkpoint==4.3.2 prefect/prefect==3.9.1 temporal/temporalio==1.35.0; do
    name=${engine%%/*}
    python3 -m venv "venv-$name"
    "venv-$name/bin/pip" install --quiet --disable-pip-version-check "${engine#*/}" pydantic==2.14.4
    said=$("venv-$name/bin/python" window.py "$name" 2>>log)
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done
