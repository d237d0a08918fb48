#!/usr/bin/env bash
# Prefect, Temporal: an enum whose values are tuples is written without a word, and cannot be read by anybody afterwards.
#
# class Size(Enum): SMALL = (1, 2), a common way to give members attributes. Prefect's JSON serializer of results and Temporal's
# converter for pydantic write Size.SMALL and read it, Temporal with the type given as a hint. LangGraph's serializer is beside
# them.
# Guess:     what a converter for pydantic writes it can read with the same type; or it refuses to write.
# Behaviour: the value becomes [1, 2], because JSON has no tuples. Reading then looks for a member whose value is a list, finds
#            none and raises: a task or an activity has succeeded, and whoever asks for its result fails for ever.
#            LangGraph gives a list in place of the member, and logs that it could not do better.
# Seen with: prefect 3.9.1, temporalio 1.35.0, langgraph-checkpoint 4.3.2, pydantic 2.14.4, Python 3.11.7:
#
#     prefect: written, reading raises ValidationError: Input should be (1, 2) or (3, 4)
#     temporal: written, reading raises ValidationError: Input should be (1, 2) or (3, 4)
#     langgraph: written, read as [1, 2]
#
# So: give such enums plain values, and their attributes by __new__ or a dictionary. Read back what you are about to record
# before you call it recorded: flujo fails the step instead, with the place of the value.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > sizes.py <<'PYTHON'
import sys
from enum import Enum


class Size(Enum):
    SMALL = (1, 2)
    LARGE = (3, 4)


def prefect():
    from prefect.serializers import JSONSerializer

    written = JSONSerializer().dumps(Size.SMALL)
    return lambda: JSONSerializer().loads(written)


def temporal():
    from temporalio.contrib.pydantic import pydantic_data_converter

    converter = pydantic_data_converter.payload_converter
    written = converter.to_payloads([Size.SMALL])
    return lambda: converter.from_payloads(written, [Size])[0]


def langgraph():
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    written = JsonPlusSerializer().dumps_typed(Size.SMALL)
    return lambda: JsonPlusSerializer().loads_typed(written)


name = sys.argv[1]
read = {"prefect": prefect, "temporal": temporal, "langgraph": langgraph}[name]()
try:
    print(f"{name}: written, read as {read()}")
except Exception as error:
    told = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
    print(f"{name}: written, reading raises {type(error).__name__}: {told}")
PYTHON

for engine in prefect/prefect==3.9.1 temporal/temporalio==1.35.0 langgraph/langgraph-checkpoint==4.3.2; do
    name=${engine%%/*}
    python3 -m venv "venv-$name"
    "venv-$name/bin/pip" install --quiet --disable-pip-version-check "${engine#*/}" pydantic==2.14.4
    said=$("venv-$name/bin/python" sizes.py "$name" 2>>log)
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done
