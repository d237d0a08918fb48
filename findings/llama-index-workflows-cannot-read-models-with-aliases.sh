#!/usr/bin/env bash
# LlamaIndex Workflows: a context that holds a pydantic model with an alias is saved without complaint, and cannot be read back.
#
# Guess:     what `Context.to_dict` has saved, `Context.from_dict` gives back: the documentation shows the pair as the way to
#            go on with a workflow in another process, and pydantic models are what it recommends for the state.
# Behaviour: the serializer dumps a model by the names of its fields and reads it by pydantic's own rules, which want the
#            alias. Nothing is said while the workflow runs, nor when it is saved; the first read of the value in the next
#            process fails. By then the process that had the value is gone. With serialize_by_alias in the model's own
#            configuration it comes back, and with populate_by_name, too.
# Seen with: llama-index-workflows 2.26.1, pydantic 2.14.4, Python 3.11.7:
#
#     Plain: Plain(name='Ada')
#     Alias: ValueError: Failed to deserialize state value for key customer: 1 validation error for Alias
#     AliasAndName: AliasAndName(name='Ada')
#     DumpedByAlias: DumpedByAlias(name='Ada')
#
# So: try whether a type comes back where it is declared, or when a value is recorded, and not when it is needed.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > customers.py <<'PYTHON'
import asyncio
import json

from pydantic import BaseModel, Field
from workflows import Context, Workflow, step
from workflows.events import StartEvent, StopEvent


class Plain(BaseModel):
    name: str


class Alias(BaseModel):
    name: str = Field(alias="fullName")


class AliasAndName(Alias, populate_by_name=True):
    pass


class DumpedByAlias(Alias, serialize_by_alias=True):
    pass


class Register(Workflow):
    @step
    async def register(self, ctx: Context, ev: StartEvent) -> StopEvent:
        await ctx.store.set("customer", ev.customer)
        return StopEvent(result="registered")


async def main():
    for customer in (Plain(name="Ada"), Alias(fullName="Ada"), AliasAndName(fullName="Ada"), DumpedByAlias(fullName="Ada")):
        workflow = Register()
        ctx = Context(workflow)
        assert await workflow.run(customer=customer, ctx=ctx) == "registered"
        saved = json.dumps(ctx.to_dict())
        try:
            found = repr(await Context.from_dict(Register(), json.loads(saved)).store.get("customer"))
        except Exception as error:
            found = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        print(f"{type(customer).__name__}: {found}")


asyncio.run(main())
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check llama-index-workflows==2.26.1 pydantic==2.14.4
venv/bin/python customers.py > seen
cat seen
[ "$(wc -l < seen)" = 4 ] || { echo "changed: not what was seen before"; exit 1; }
while read -r line; do
    grep -qxF "#     $line" "$script" || { echo "changed: not what was seen before"; exit 1; }
done < seen
