#!/usr/bin/env bash
# Temporal's converter for pydantic: an activity that is given a SecretStr gets ten asterisks, whatever the secret was.
#
# Guess:     a value of a pydantic type either arrives as it was, or is refused where it is sent: the converter exists so that
#            arguments and results may be pydantic models.
# Behaviour: pydantic writes SecretStr and SecretBytes to JSON as asterisks, which is what they are for, and reads asterisks
#            as a secret like any other. The converter sends that. The activity starts, its argument has the right type, and
#            whatever it logs in to says that the password is wrong. A pattern arrives without its flags in the same way.
#            Without the converter for pydantic, the SDK refuses to send either.
# Seen with: temporalio 1.35.0, pydantic 2.14.4, Python 3.11.7 (no server is needed):
#
#     pydantic, SecretStr('open sesame'): SecretStr('**********')
#     pydantic, Login(user='ada', password=SecretStr('open sesame')): Login(user='ada', password=SecretStr('**********'))
#     pydantic, re.compile('error', re.IGNORECASE): re.compile('error')
#     default, SecretStr('open sesame'): TypeError
#
# So: refuse a type that is written otherwise than it is read when it is declared, and say so of secrets.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > secrets_sent.py <<'PYTHON'
import asyncio
import re

from pydantic import BaseModel, SecretStr
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.converter import DataConverter


class Login(BaseModel):
    user: str
    password: SecretStr


def shown(value):
    """Print a secret that is one in the clear: what it holds is what this is about."""
    if isinstance(value, SecretStr):
        return f"SecretStr({value.get_secret_value()!r})"
    if isinstance(value, Login):
        return f"Login(user={value.user!r}, password={shown(value.password)})"
    return repr(value)


async def arrives(converter, value):
    try:
        (arrived,) = await converter.decode(await converter.encode([value]), [type(value)])
    except Exception as error:
        return type(error).__name__
    return shown(arrived)


async def main():
    secret = SecretStr("open sesame")
    for value in (secret, Login(user="ada", password=secret), re.compile("error", re.IGNORECASE)):
        print(f"pydantic, {shown(value)}: {await arrives(pydantic_data_converter, value)}")
    print(f"default, {shown(secret)}: {await arrives(DataConverter.default, secret)}")


asyncio.run(main())
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check temporalio==1.35.0 pydantic==2.14.4
venv/bin/python secrets_sent.py > seen
cat seen
[ "$(wc -l < seen)" = 4 ] || { echo "changed: not what was seen before"; exit 1; }
while read -r line; do
    grep -qxF "#     $line" "$script" || { echo "changed: not what was seen before"; exit 1; }
done < seen
