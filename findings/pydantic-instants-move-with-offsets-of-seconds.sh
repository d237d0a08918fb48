#!/usr/bin/env bash
# pydantic and zoneinfo: a datetime whose offset has seconds in it is another instant after a round trip through JSON.
#
# Liberia's time was 44 minutes and 30 seconds behind UTC until January 1972; zoneinfo knows that, as it does local mean times.
# Guess:     model_dump_json and model_validate_json give an equal datetime back, for any time zone, with an offset in place of
#            the zone's name; what cannot be written raises.
# Behaviour: the offset is cut to minutes, towards zero, and the wall time is left as it is, so the instant read back is 30
#            seconds off. Nothing raises or warns. Python's own isoformat writes the seconds (-00:44:30), its fromisoformat
#            reads them, and pydantic refuses to read that text. Converted to UTC first, the datetime comes back equal.
# Seen with: pydantic 2.14.4 and 2.11.10, tzdata 2025.2, Python 3.11.7:
#
#     2.11.10 written as 1971-06-01T12:00:00-00:44, read back 30 seconds off
#     2.11.10 isoformat 1971-06-01T12:00:00-00:44:30: fromisoformat gives an equal one, pydantic ValidationError
#     2.11.10 in UTC, read back 0 seconds off
#     2.14.4 written as 1971-06-01T12:00:00-00:44, read back 30 seconds off
#     2.14.4 isoformat 1971-06-01T12:00:00-00:44:30: fromisoformat gives an equal one, pydantic ValidationError
#     2.14.4 in UTC, read back 0 seconds off
#
# So: store instants in UTC, or compare what is read back with what was given before it counts as stored.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > instants.py <<'PYTHON'
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ValidationError


class Entry(BaseModel):
    at: datetime


def seconds_off(at):
    back = Entry.model_validate_json(Entry(at=at).model_dump_json()).at
    return f"{abs((back - at).total_seconds()):.0f} seconds off"


def read_by_pydantic(text):
    try:
        return "reads it" if Entry(at=text).at == noon else "reads another one"
    except ValidationError as error:
        return type(error).__name__


noon = datetime(1971, 6, 1, 12, tzinfo=ZoneInfo("Africa/Monrovia"))
text = noon.isoformat()
print(f"written as {Entry(at=noon).model_dump(mode='json')['at']}, read back {seconds_off(noon)}")
print(f"isoformat {text}: fromisoformat gives {'an equal' if datetime.fromisoformat(text) == noon else 'another'} one, "
      f"pydantic {read_by_pydantic(text)}")
print(f"in UTC, read back {seconds_off(noon.astimezone(UTC))}")
PYTHON

for version in 2.11.10 2.14.4; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "pydantic==$version" tzdata==2025.2
    PYTHONTZPATH="" "venv-$version/bin/python" instants.py > output || { echo "changed: it fails"; exit 1; }
    while read -r line; do
        said="$version $line"
        echo "$said"
        grep -qxF -- "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done < output
done
