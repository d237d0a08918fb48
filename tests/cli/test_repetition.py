"""A run whose steps return everything gathered so far is pointed at, by inspect and by doctor."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.conftest import Flujoctl
from flujo.cli.repetition import find_repetition
from flujo.kernel.state import RunStatus, StepState, StepStatus, WorkflowState
from flujo.kernel.values import encode

PAGE = "x" * 20_000

PROGRAM = """\
from flujo.kernel import Context, step, workflow

def page(number: int) -> str:
    return f"page {number} " * 2000

@step
async def gather(pages: list) -> list:
    return [*pages, page(len(pages))]

@step
async def fetch(number: int) -> str:
    return page(number)

@workflow
async def everything(ctx: Context) -> int:
    pages: list = []
    for _ in range(12):
        pages = await ctx.step(gather, pages)
    return len(pages)

@workflow
async def news(ctx: Context) -> int:
    return len([await ctx.step(fetch, number) for number in range(12)])
"""


def run_of(*outputs: object, names: tuple[str, ...] = ("gather",)) -> WorkflowState:
    """A run whose steps have these outputs, in this order."""
    state = WorkflowState("r", "uid", "flow", RunStatus.RUNNING)
    for number, output in enumerate(outputs):
        key = names[number % len(names)] + (f"#{number}" if number >= len(names) else "")
        state.steps[key] = StepState(
            key, status=StepStatus.COMPLETED, output_json=encode(output), settled_seq=number + 1
        )
    return state


def pages(count: int) -> list[str]:
    """So many pages, each another one."""
    return [f"{number}{PAGE}" for number in range(count)]


GROWING = {
    "a list": [pages(count) for count in range(12)],
    "a list with the newest first": [pages(count)[::-1] for count in range(12)],
    "an object": [{f"page{number}": page for number, page in enumerate(pages(count))} for count in range(12)],
    "a list in an object": [{"pages": pages(count), "count": count} for count in range(12)],
    "a text": ["\n".join(pages(count)) for count in range(12)],
}


@pytest.mark.parametrize("outputs", GROWING.values(), ids=GROWING)
@pytest.mark.parametrize("names", [("gather",), ("a", "b", "c")], ids=["one step", "a chain"])
def test_what_has_grown_is_found(outputs: list[object], names: tuple[str, ...]) -> None:
    """Whatever it is, under one name or from step to step."""
    found = find_repetition(run_of(*outputs, names=names))

    assert found is not None
    assert set(found.steps) == set(names)
    assert found.number >= 10
    assert found.repeated_bytes > found.total_bytes * 0.7


def test_other_steps_between_do_not_hide_it() -> None:
    """The outputs of one name are compared, too."""
    outputs = [each for count in range(12) for each in (f"{count}{PAGE}", pages(count))]

    found = find_repetition(run_of(*outputs, names=("fetch", "gather")))

    assert found is not None
    assert found.number >= 10


@pytest.mark.parametrize(
    "outputs",
    [
        [f"{number}{PAGE}" for number in range(50)],
        [PAGE] * 50,
        [pages(2), pages(3)],
        [list(range(count)) for count in range(50)],
        [None] * 50,
        [],
    ],
    ids=["new pages", "the same again", "a pair", "little", "nothing", "no step"],
)
def test_what_is_new_small_or_the_same_again_is_nothing(outputs: list[object]) -> None:
    """A store keeps equal large outputs once."""
    assert find_repetition(run_of(*outputs)) is None


def test_inspect_and_doctor_name_the_step(folder: Path, flujoctl: Flujoctl) -> None:
    """The one that gathers everything, and not the one that returns what is new."""
    (folder / "flows.py").write_text(PROGRAM, encoding="utf-8")
    assert flujoctl("run", "flows.py:news", "--id", "n").code == 0
    assert "repeat" not in flujoctl("inspect", "n").err
    assert "ok       outputs" in flujoctl("doctor").out
    assert flujoctl("run", "flows.py:everything", "--id", "e").code == 0

    said = flujoctl("inspect", "e").err
    looked = flujoctl("doctor")

    assert "outputs of gather repeat the ones before" in said
    assert looked.code == 0
    assert "warning  outputs      run e: " in looked.out
    assert "fix: flujoctl inspect e" in looked.out
