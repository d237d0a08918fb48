#!/usr/bin/env bash
# Airflow: a task that returns a time with an offset succeeds, and the task that wants it fails.
#
# XComs carry the results of tasks, and datetime is a type that their serializer knows. One with an offset and no name of a zone is
# what Python gives for most: fromisoformat, an HTTP API read by pydantic, datetime.now().astimezone().
# Guess:     a time that a standard `timezone` belongs to is written as its instant and its offset; or it is refused where it is
#            returned, as Airflow refuses datetime.time or an enum.
# Behaviour: times in a zone of zoneinfo or pendulum, in UTC, and without any come back. Any other offset of Python's own is
#            written as an empty name, without a word, so the first task succeeds; whoever pulls the value asks zoneinfo for the
#            zone "". now().astimezone() works on a worker whose clock is in UTC and on no other. pendulum.parse of the same text
#            gives a class of pendulum, which comes back.
# Seen with: apache-airflow-task-sdk 1.3.2 (Airflow 3.3.2), pendulum 3.3.0, Python 3.11.7 (no server is needed):
#
#     zoneinfo, Asia/Kolkata: written, read as 2026-07-01T09:00:00+05:30
#     fromisoformat, Z: written, read as 2026-07-01T09:00:00+00:00
#     fromisoformat, +05:30: written, reading raises ValueError: ZoneInfo keys must be normalized relative paths
#     pendulum.parse, +05:30: written, read as 2026-07-01T09:00:00+05:30
#     astimezone() in UTC: written, read as 2026-07-01T09:00:00+00:00
#     astimezone() in Paris: written, reading raises ValueError: ZoneInfo keys must be normalized relative paths
#     datetime.time: refused, TypeError
#
# So: return times in UTC, or as text. flujo records the offset, and reads every value back before it is recorded at all.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > times.py <<'PYTHON'
import json
import os
import time as clocks
from datetime import UTC, datetime, time
from types import SimpleNamespace
from zoneinfo import ZoneInfo

import pendulum
from airflow.sdk.bases.xcom import BaseXCom


def here(zone):
    os.environ["TZ"] = zone
    clocks.tzset()
    return datetime(2026, 7, 1, 9, tzinfo=UTC).astimezone()


def told(value):
    try:
        written = json.dumps(BaseXCom.serialize_value(value))
    except TypeError as error:
        return f"refused, {type(error).__name__}"
    try:
        read = BaseXCom.deserialize_value(SimpleNamespace(value=json.loads(written)))
    except ValueError as error:
        return f"written, reading raises {type(error).__name__}: {str(error).partition(chr(44))[0]}"
    assert read == value
    return f"written, read as {read.isoformat()}"


print("zoneinfo, Asia/Kolkata:", told(datetime(2026, 7, 1, 9, tzinfo=ZoneInfo("Asia/Kolkata"))))
print("fromisoformat, Z:", told(datetime.fromisoformat("2026-07-01T09:00:00Z")))
print("fromisoformat, +05:30:", told(datetime.fromisoformat("2026-07-01T09:00:00+05:30")))
print("pendulum.parse, +05:30:", told(pendulum.parse("2026-07-01T09:00:00+05:30")))
print("astimezone() in UTC:", told(here("UTC")))
print("astimezone() in Paris:", told(here("Europe/Paris")))
print("datetime.time:", told(time(9)))
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check apache-airflow-task-sdk==1.3.2 apache-airflow-core==3.3.2 \
    pendulum==3.3.0 tzdata > log 2>&1 || { cat log; exit 1; }
AIRFLOW_HOME="$folder/airflow" venv/bin/python times.py > said 2> log || { cat log; exit 1; }
while IFS= read -r line; do
    echo "$line"
    grep -qxF "#     $line" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
done < said
[ "$(wc -l < said)" = 7 ]
