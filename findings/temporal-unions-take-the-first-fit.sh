#!/usr/bin/env bash
# Temporal's Python SDK: a dataclass under a union arrives as another member of the union, without some of its fields.
#
# Guess:     an argument declared as Note | Link arrives as what was sent: the fields tell the two apart, and unions are among
#            the type hints that the SDK's README lists as supported.
# Behaviour: the default converter takes the first member that can be built. It ignores unknown fields, so every Link fits
#            Note, and its url is dropped in silence. Written Link | Note, both arrive well. The SDK's converter for pydantic
#            takes the member that fits best, in either order, also for plain dataclasses: to change the converter is to
#            change what arrives.
# Seen with: temporalio 1.35.0 and 1.18.0, pydantic 2.14.4, Python 3.11.7 (no server is needed):
#
#     1.18.0 default, Note | Link: Note(text='a')
#     1.18.0 default, Link | Note: Link(text='a', url='u')
#     1.18.0 pydantic, Note | Link: Link(text='a', url='u')
#     1.18.0 pydantic, Link | Note: Link(text='a', url='u')
#     1.35.0 default, Note | Link: Note(text='a')
#     1.35.0 default, Link | Note: Link(text='a', url='u')
#     1.35.0 pydantic, Note | Link: Link(text='a', url='u')
#     1.35.0 pydantic, Link | Note: Link(text='a', url='u')
#
# So: put the type's name into the value, or the member with more required fields first.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > unions.py <<'PYTHON'
import asyncio
from dataclasses import dataclass

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter


@dataclass
class Note:
    text: str


@dataclass
class Link:
    text: str
    url: str


async def arrives(converter, hint):
    (value,) = await converter.decode(await converter.encode([Link("a", "u")]), [hint])
    return value


async def main():
    print("default, Note | Link:", await arrives(DataConverter.default, Note | Link))
    print("default, Link | Note:", await arrives(DataConverter.default, Link | Note))
    print("pydantic, Note | Link:", await arrives(pydantic_data_converter, Note | Link))
    print("pydantic, Link | Note:", await arrives(pydantic_data_converter, Link | Note))


asyncio.run(main())
PYTHON

for version in 1.18.0 1.35.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "temporalio==$version" pydantic==2.14.4
    "venv-$version/bin/python" unions.py | while read -r line; do
        said="$version $line"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done
done
