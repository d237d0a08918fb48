"""Other types under completed steps: of inputs, of outputs, of payloads. What is printed then exists, and works."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from cli.conftest import Ended, Flujoctl

PYTHON = """\
from pydantic import BaseModel
from flujo.kernel import Context, step, workflow

class Order(BaseModel):
    id: int

@step
async def pay(amount: int) -> Order:
    return Order(id=amount)

@workflow
async def child(ctx: Context) -> int:
    return 1

@workflow
async def shop(ctx: Context, n: int, old: int = 0) -> str:
    order = await ctx.step(pay, 1)
    papers = await ctx.wait_signal("papers", type=dict)
    born = await ctx.run_child(child)
    await ctx.wait_signal("go")
    return f"{n} {order.id} {papers} {born}"
"""

YAML = """\
name: shop
params:
  n: {type: integer, required: true}
  old: {type: integer, default: 0}
steps:
  - {name: pay, task: echo, inputs: {message: paid}}
  - {name: go, task: wait_signal}
outputs: {n: "{{ n }}"}
"""


class Edit(NamedTuple):
    """What is written instead, what is told of it, which commands are printed besides those that run a step again, and
    what stands for the words in capitals in them."""

    parts: Mapping[str, str]
    told: list[str]
    commands: list[str]
    values: Mapping[str, str] = {}
    text: str = PYTHON


NO_LONGER = "the run was started with it, and the workflow takes it no longer"
NEEDED = "the run was started without it, and the workflow needs it now"
ACCEPT = "flujoctl resume r --accept-changes"
STORED = "flujoctl resume r --stored"

EDITS = {
    "an input is dropped": Edit({", old: int = 0": ""}, [f"inputs.old: {NO_LONGER}"], [ACCEPT]),
    "an input has another type": Edit(
        {"n: int,": "n: list[int],"},
        ["inputs.n: its recorded value no longer fits its type"],
        ["flujoctl resume r n:=JSON"],
        {"n:=JSON": "n:=[7]"},
    ),
    "an input with a default has another type": Edit(
        {"old: int = 0": "old: list[str] | None = None"},
        ["inputs.old: its recorded value no longer fits its type"],
        ["flujoctl resume r old:=JSON", ACCEPT],
        {"old:=JSON": "old:=[]"},
    ),
    "an input is new": Edit(
        {"n: int,": "n: int, new: bool,"}, [f"inputs.new: {NEEDED}"], ["flujoctl resume r new:=JSON"], {"JSON": "true"}
    ),
    "an input is renamed": Edit(
        {"n: int,": "k: int,", "{n}": "{k}"},
        [f"inputs.k: {NEEDED}", f"inputs.n: {NO_LONGER}"],
        ["flujoctl resume r k:=JSON --accept-changes"],
        {"JSON": "3"},
    ),
    "two inputs have other types": Edit(
        {"n: int, old: int = 0": "n: str, old: str"},
        ["inputs.n: its recorded value", "inputs.old: its recorded value"],
        ["flujoctl resume r n:=JSON old:=JSON"],
        {"n:=JSON": "n:='\"a b\"'", "old:=JSON": "old:='\"c\"'"},
    ),
    "an output has another type": Edit(
        {"    id: int\n": "    id: int\n    total: int\n", "id=amount": "id=amount, total=0"},
        ["pay: its recorded output no longer fits its type: $.total"],
        ["flujoctl set r --result pay=JSON"],
        {"JSON": '\'{"id": 4, "total": 2}\''},
    ),
    "a payload has another type": Edit(
        {"type=dict": "type=list"},
        ["papers: its recorded output no longer fits its type"],
        ["flujoctl set r --result papers=JSON"],
        {"JSON": "[]"},
    ),
    "a child returns another type": Edit(
        {"-> int:\n    return 1": "-> list:\n    return []"},
        ["child: its recorded output no longer fits its type"],
        ["flujoctl set r --result child=JSON"],
        {"JSON": "[]"},
    ),
    "a parameter has another type": Edit(
        {"{type: integer, required: true}": "{type: array, required: true}"},
        ["inputs.n: its recorded value no longer fits"],
        [STORED, "flujoctl resume r n:=JSON"],
        {"JSON": "[1]"},
        YAML,
    ),
    "a parameter with a default has another type": Edit(
        {"old: {type: integer, default: 0}": "old: {type: array, default: []}"},
        ["inputs.old: its recorded value no longer fits"],
        [STORED, "flujoctl resume r old:=JSON", ACCEPT],
        {"JSON": "[1]"},
        YAML,
    ),
    "a parameter is new": Edit(
        {"params:\n": "params:\n  new: {type: boolean, required: true}\n"},
        [f"inputs.new: {NEEDED}"],
        [STORED, "flujoctl resume r new:=JSON"],
        {"JSON": "true"},
        YAML,
    ),
    "a parameter and a step": Edit(
        {"{type: integer, required: true}": "{type: array, required: true}", "message: paid": "message: payed"},
        ["inputs.n: its recorded value no longer fits", "pay: its task, inputs or condition have changed"],
        [STORED, "flujoctl resume r --from-step pay n:=JSON", "flujoctl resume r --accept-changes n:=JSON"],
        {"JSON": "[1]"},
        YAML,
    ),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_every_remedy_of_a_changed_type_works_as_printed(folder: Path, flujoctl: Flujoctl, edit: Edit) -> None:
    """The difference is named by resume, by diff and, once the run is paused for it, by explain."""
    edited = run_until_it_waits(folder, flujoctl, edit)

    refused = flujoctl("resume", "r", "-v")

    named = [line.strip() for line in refused.err.splitlines() if line.startswith("  ")]
    assert refused.code == 4, refused
    assert [line[: len(told)] for line, told in zip(named, edit.told, strict=True)] == edit.told
    assert flujoctl("diff", "r").err.splitlines()[1].strip() == named[0]
    if "status     paused" in flujoctl("inspect", "r").out:
        assert named[0] in flujoctl("explain", "r").out
    printed = [remedy.partition("  #")[0].rstrip() for remedy in remedies(refused)]
    printed = [each for each in printed if not each.startswith(tuple(LAST))]
    assert [each for each in printed if "--from-step" not in each or each in edit.commands] == edit.commands
    store, saved = folder / ".flujo", folder / "saved"
    shutil.copytree(store, saved)
    for remedy in printed:
        shutil.rmtree(store)
        shutil.copytree(saved, store)
        for word, value in edit.values.items():
            remedy = remedy.replace(word, value)
        for signal in ("papers", "go"):  # what is run again waits again
            flujoctl("signal", "r", signal, "[]" if "type=list" in edited else "{}")

        ended = flujoctl(*shlex.split(remedy)[1:])

        if remedy.startswith("flujoctl set"):
            ended = flujoctl("resume", "r")
        assert ended.code == 0, (remedy, ended)


def run_until_it_waits(folder: Path, flujoctl: Flujoctl, edit: Edit) -> str:
    """Run what is to be edited until it waits, edit its file and return the text of that."""
    is_python = edit.text is PYTHON
    file = folder / ("flow.py" if is_python else "flow.yaml")
    file.write_text(edit.text, encoding="utf-8")
    target = "flow.py:shop" if is_python else "flow.yaml"
    assert flujoctl("run", target, "n:=1", "old:=3", "--id", "r", "--no-wait").code == 7
    if is_python:
        flujoctl("signal", "r", "papers", "{}")
        assert flujoctl("resume", "r", "--no-wait").code == 7
    flujoctl("signal", "r", "go")
    text = edit.text
    for before, after in edit.parts.items():
        assert before in text
        text = text.replace(before, after)
    file.write_text(f"{text}# edited\n", encoding="utf-8")  # of another size: Python caches by that, and by the second
    return text


def remedies(ended: Ended) -> list[str]:
    """The commands that are proposed."""
    return [line.removeprefix("try: ") for line in ended.err.splitlines() if line.startswith("try: ")]


LAST = ["flujoctl delete", "flujoctl prune", "flujoctl run", "remove the store"]
"""How the remedies begin that give the run up."""
