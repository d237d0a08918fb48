#!/usr/bin/env bash
# Burr: a value of a type that its serializer does not know is saved as its text, and stays text when the application goes on.
#
# An action puts a Decimal, a tuple and a dict with numbers as keys into the state; the next one multiplies the Decimal by
# three. The application is made again in between, from the SQLite persister.
# Guess:     a type that cannot be saved is refused, as json does it; what was accepted comes back as it was. The page
#            "Serialization / Deserialization" tells how to register a type and not what happens to one that is not
#            registered.
# Behaviour: it is saved as str(value) without a word. The resumed application reads "19.90", and three times that is longer
#            text and no error. A tuple is text as well, not even a list. Keys of a dict become text by way of JSON.
# Seen with: apache-burr 0.43.0, Python 3.11.7:
#
#     in one go: total Decimal('59.70'), size (2, 3), by number {1: 'a'}
#     resumed: total '19.9019.9019.90', size '(2, 3)', by number {'1': 'a'}
#
# So: register every type of the state, or keep to what JSON has; a store refuses what it cannot give back.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > offer.py <<'PYTHON'
import sys
from decimal import Decimal

from burr.core import ApplicationBuilder, action
from burr.core.persistence import SQLitePersister


@action(reads=[], writes=["price", "size", "by_number"])
def quote(state):
    return state.update(price=Decimal("19.90"), size=(2, 3), by_number={1: "a"})


@action(reads=["price"], writes=["total"])
def multiply(state):
    return state.update(total=state["price"] * 3)


def offer():
    return (ApplicationBuilder().with_actions(quote=quote, multiply=multiply).with_transitions(("quote", "multiply"))
            .initialize_from(saved, resume_at_next_action=True, default_state={}, default_entrypoint="quote")
            .with_state_persister(saved).with_identifiers(app_id="1", partition_key="shop").build())


saved = SQLitePersister.from_values(f"{sys.argv[1]}.db", table_name="states")
saved.initialize()
application = offer()
application.run(halt_after=["quote"])
if sys.argv[1] == "resumed":
    application = offer()
_, _, state = application.run(halt_after=["multiply"])
print(f"total {state['total']!r}, size {state['size']!r}, by number {state['by_number']}")
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check apache-burr==0.43.0
for way in "in one go" resumed; do
    said="$way: $(venv/bin/python offer.py "$way" 2>>log)"
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done
