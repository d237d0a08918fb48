"""What a person sees on a terminal while a run goes on, read back from the screen."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from acceptance.screen import Screen
from acceptance.terminal import Terminal

BUSY = """\
name: busy
steps:
  - name: shrink
    task: batch
    depends_on: []
    inputs:
      items: "{{ range(200) | list }}"
      max_workers: 4
      task:
        task: python_code
        inputs:
          code: |
            import time
            time.sleep(0.05 if item < 80 else 3600)
            result = item
  - name: flaky
    task: shell
    depends_on: []
    inputs: {command: "echo 'cannot connect'; echo 'giving up' >&2; exit 3"}
    retry: {max_attempts: 5, delay: 10m}
  - name: chatty
    task: shell
    depends_on: []
    inputs: {command: "echo one; echo two; printf '\\\\033[2Jthree'; echo; sleep 3600"}
  - name: broken
    task: shell
    depends_on: []
    inputs: {command: "echo 'no such table'; exit 4"}
    on_error: continue
  - {name: approve, task: wait_signal, depends_on: []}
"""
FAILS = """\
name: fails
steps: [{name: broken, task: shell, inputs: {command: "seq 1 30; echo 'no such table' >&2; exit 4"}}]
"""

Open = Callable[..., Screen]


@pytest.fixture
def screen(terminal: Terminal) -> Iterator[Open]:
    """Begin a command on a terminal of its own."""
    opened: list[Screen] = []

    def begin(command: str, *, environment: dict[str, str] | None = None, **size: Any) -> Screen:
        around = {name: text for name, text in terminal.environment.items() if name not in ("COLUMNS", "LINES")}
        inside = {**around, "TERM": "xterm-256color", "LANG": "C.UTF-8", **(environment or {})}
        opened.append(Screen(f"exec {command}", folder=terminal.folder, environment=inside, **size))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


def shows(*patterns: str) -> Callable[[Screen], bool]:
    """True of a screen on which each pattern is somewhere."""
    return lambda screen: all(re.search(pattern, screen.text, re.MULTILINE) for pattern in patterns)


STEADY = (
    r"shrink +[━#]+[─.]+ +\d+ % \(\d+ of 200\), .*\d/s, about \S.* left",
    r"flaky +retrying +attempt 2 of 5 in (8m|9m|10m)",
    r"approve +waiting +for the signal approve",
    r"answer with: flujoctl signal busy approve",
    r"chatty +running +\d",
    r"of 5 steps done.* so far",
)


def test_a_busy_run_shows_what_each_of_its_steps_does(terminal: Terminal, screen: Open) -> None:
    """A bar with rate and time left, a countdown, the last lines of what runs, the answer to a wait; a failed step has
    scrolled by. Ctrl-C leaves the screen clean and says how to go on."""
    terminal.write("busy.yaml", BUSY)
    seen = screen("flujoctl run busy.yaml --id busy")

    seen.wait_for(shows(*STEADY, r"│ .*three", r"│ cannot connect", r"broken: failed at attempt 1"))
    first = next(line for line in seen.lines if "flaky" in line and "retrying" in line)
    seen.wait_for(lambda now: any("flaky" in line and "retrying" in line and line != first for line in now.lines))

    assert b"\x1b[2J" not in seen.raw
    seen.press("c")
    assert seen.end() == 130
    assert "interrupted; run busy is checkpointed" in seen.text
    assert "try: flujoctl resume busy" in seen.text
    assert not re.search("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]", seen.text)
    assert terminal.flujoctl("inspect", "busy", "--step", "flaky").code == 0


def test_a_second_ctrl_c_ends_at_once(terminal: Terminal, screen: Open) -> None:
    """Even while the first one is still stopping things."""
    terminal.write("stubborn.yaml", STUBBORN)
    seen = screen("flujoctl run stubborn.yaml --id s")
    seen.wait_for(shows("│ begun"))

    seen.press("c")
    seen.wait_for(shows("press Ctrl-C again to end at once"))
    seen.press("c")

    assert seen.end() != 0


STUBBORN = """\
name: stubborn
steps:
  - name: hold
    task: shell
    inputs: {command: "trap '' TERM INT; echo begun; while :; do sleep 0.1; done", stop_grace: 10m}
"""


@pytest.mark.parametrize("columns", [20, 21, 22, 30])
def test_ctrl_c_leaves_nothing_behind_on_a_very_narrow_terminal(columns: int, terminal: Terminal, screen: Open) -> None:
    """Where the last line is full, the `^C` that the terminal writes must not begin another one."""
    terminal.write("stops.yaml", STOPS)
    seen = screen("flujoctl run stops.yaml --id s", columns=columns)
    seen.wait_for(shows("│ begun"))

    seen.press("c")

    assert seen.end() == 130
    assert not re.search("[⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏]", seen.everything)
    assert "begun" not in seen.everything


STOPS = """\
name: stops
steps: [{name: hold, task: shell, inputs: {command: "echo begun; sleep 300"}}]
"""


@pytest.mark.parametrize("columns", [60, 40])
def test_a_narrow_terminal_has_one_line_for_each_thing(columns: int, terminal: Terminal, screen: Open) -> None:
    """What does not fit is cut, so that no line is drawn twice."""
    terminal.write("busy.yaml", BUSY)
    seen = screen("flujoctl run busy.yaml --id busy", columns=columns)

    seen.wait_for(shows(r"shrink +━", r"flaky +retrying", r"approve +waiting", r"steps done"))
    seen.wait_for(shows(r"shrink +━+─+ +40 %"))

    assert max(map(len, seen.lines)) <= columns
    assert seen.text.count("steps done") == 1
    seen.press("c")
    assert seen.end() == 130


def test_a_terminal_may_change_its_size(terminal: Terminal, screen: Open) -> None:
    """The lines are drawn for the new width from then on."""
    terminal.write("busy.yaml", BUSY)
    seen = screen("flujoctl run busy.yaml --id busy", columns=120)
    seen.wait_for(shows(*STEADY))

    seen.resize(70, 30)
    seen.wait_for(lambda now: bool(re.search(r"^\S shrink  ━{4,}─+  40", now.text, re.MULTILINE)) and narrow(now))
    seen.resize(120, 30)
    seen.wait_for(shows(*STEADY))

    seen.press("c")
    assert seen.end() == 130


def narrow(screen: Screen) -> bool:
    """True if the bar has the width that it has on a narrow terminal."""
    return bool(re.search(r"shrink  [━─]{10}  ", screen.text))


@pytest.mark.parametrize("locale", [{"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}])
def test_a_locale_without_such_characters_has_others(locale: dict[str, str], terminal: Terminal, screen: Open) -> None:
    """ASCII only."""
    terminal.write("busy.yaml", BUSY)
    seen = screen("flujoctl run busy.yaml --id busy", environment={**locale, "PYTHONIOENCODING": "ascii"})

    seen.wait_for(shows(r"shrink +#+\.+ +\d+ %", r"\| .*three", r"flaky +retrying"))

    assert seen.text.isascii()
    seen.press("c")
    seen.end()


def test_without_colours_there_are_none(terminal: Terminal, screen: Open) -> None:
    """By NO_COLOR; the words say everything."""
    terminal.write("fails.yaml", FAILS)
    seen = screen("flujoctl run fails.yaml --id f", environment={"NO_COLOR": "1"})

    assert seen.end() == 1
    assert not re.search(rb"\x1b\[[0-9;]*3[1-7]m", seen.raw)
    assert "failed" in seen.text


@pytest.mark.parametrize(("choice", "coloured"), [("never", False), ("always", True)])
def test_an_option_says_whether_there_are_colours(
    terminal: Terminal, screen: Open, choice: str, coloured: bool
) -> None:
    """Before NO_COLOR and what the terminal is."""
    terminal.write("fails.yaml", FAILS)
    variables = {"NO_COLOR": "1"} if coloured else {"FORCE_COLOR": "1"}
    seen = screen(f"flujoctl run fails.yaml --id f --color {choice}", environment=variables)

    assert seen.end() == 1
    assert bool(re.search(rb"\x1b\[[0-9;]*3[1-7]m", seen.raw)) is coloured


def test_nothing_is_drawn_where_nobody_wants_that(terminal: Terminal, screen: Open) -> None:
    """A line per event, as in a pipe; the outcome keeps its colour."""
    terminal.write("fails.yaml", FAILS)
    seen = screen("flujoctl run fails.yaml --id f --no-progress --color never")
    assert seen.end() == 1
    assert b"\x1b" not in seen.raw
    assert "broken: started" in seen.everything

    watched = screen("flujoctl watch f --no-progress --color never")
    watched.end()
    assert b"\x1b" not in watched.raw
    assert "run_failed" in watched.everything or "failed" in watched.everything

    top = screen("flujoctl top --status failed --no-progress --color never")
    assert top.end() == 0
    assert b"\x1b" not in top.raw


def test_a_dumb_terminal_has_plain_lines(terminal: Terminal, screen: Open) -> None:
    """No cursor is moved."""
    terminal.write("fails.yaml", FAILS)
    seen = screen("flujoctl run fails.yaml --id f", environment={"TERM": "dumb"})

    assert seen.end() == 1
    assert b"\x1b" not in seen.raw
    assert "broken: started" in seen.everything


def test_a_failure_shows_the_last_lines_and_what_to_type(terminal: Terminal, screen: Open) -> None:
    """Ten lines of what failed, then the error and the commands that help; on a terminal and off."""
    terminal.write("fails.yaml", FAILS)
    seen = screen("flujoctl run fails.yaml --id f")
    assert seen.end() == 1
    piped = terminal.flujoctl("resume", "f")

    told = piped.err[piped.err.index("the last lines of broken:") :].splitlines()
    assert told[1:11] == [*(f"  | {number}" for number in range(22, 31)), "  | no such table"]
    assert told[11].startswith("error[run-failed]: ")
    for text in ("the last lines of broken:", "  | no such table", "try: flujoctl logs f --step broken"):
        assert text in seen.everything


def test_watch_shows_the_same_as_run(terminal: Terminal, screen: Open) -> None:
    """From another terminal; Ctrl-C stops only the watching."""
    terminal.write("busy.yaml", BUSY)
    running = screen("flujoctl run busy.yaml --id busy")
    running.wait_for(shows(*STEADY))

    watching = screen("flujoctl watch busy")
    watching.wait_for(shows(*STEADY, r"│ .*three"))
    watching.press("c")

    assert watching.end() == 130
    assert "the run is not affected" in watching.text
    running.press("c")
    assert running.end() == 130


def test_a_terminal_that_goes_away_ends_nothing_that_is_recorded(terminal: Terminal, screen: Open) -> None:
    """Piped into a reader that closes early, the run goes on to its end or is checkpointed."""
    terminal.write("fails.yaml", FAILS.replace("; exit 4", ""))
    command = "flujoctl run fails.yaml --id f -o json 2>&1 | head -1"

    assert screen(f"/bin/sh -c {shlex.quote(command)}").end() == 0
    assert terminal.flujoctl("inspect", "f", "-o", "json").code == 0


def test_top_shows_what_goes_on_and_follows_it(terminal: Terminal, screen: Open) -> None:
    """The table is drawn again when something has changed; Ctrl-C gives the screen back."""
    terminal.write("gate.yaml", "name: gate\nsteps: [{name: approve, task: wait_signal}]\n")
    terminal.flujoctl("run", "gate.yaml", "--id", "first", "--no-wait")
    seen = screen("flujoctl top --interval 0.1")

    seen.wait_for(
        shows(r"^1 waiting$", r"^ID +WORKFLOW +STATUS +STEP", r"^first +gate +waiting \(interrupted\) +approve")
    )
    terminal.flujoctl("run", "gate.yaml", "--id", "second", "--no-wait")
    seen.wait_for(shows(r"^2 waiting$", r"^second +gate"))
    terminal.flujoctl("signal", "first", "approve", "--resume")
    seen.wait_for(shows(r"^1 waiting, 1 completed$"))
    seen.press("c")

    assert seen.end() == 130
