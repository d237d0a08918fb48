"""A server that is told to stop while a template is evaluated ends in good order, and the next one goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from acceptance.terminal import SQLITE, Terminal, finish, is_alive, kill, output_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

ADDRESS = "unix:.flujo/server.sock"

WORKFLOW = """\
name: heavy
steps:
  - {name: warm, task: echo, inputs: {message: "{% for i in [1] %}{{ i }}{% endfor %}"}}
  - {name: go, task: wait_signal}
  - {name: heavy, task: echo, inputs: {message: 'TEMPLATE'}}
"""

HEAVY = {
    "a loop": "{% for i in range(1000) %}{{ i }}{% endfor %}",
    "a pattern": '{{ ("x" * 20) | regex_search("(x+x+)+y") }}',
    "a large text": '{{ ("x" * 100000) | wordwrap(79) | length }}',
}


def workers_of(pid: int) -> list[int]:
    """The processes in which a process has templates evaluated."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(file.read_text().rpartition(")")[2].split()[1])
            command = (file.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if parent == pid and b"flujo.workflows.worker" in command:
            found.append(int(file.parent.name))
    return found


@pytest.mark.parametrize("template", HEAVY.values(), ids=HEAVY)
def test_a_server_stops_while_a_template_is_evaluated(terminal: Terminal, template: str) -> None:
    """Its worker, which is stopped here and so would take for ever, is ended with it; the step begins again with the
    next server."""
    terminal.write("heavy.yaml", WORKFLOW.replace("TEMPLATE", template.replace("'", "''")))
    server = _serve(terminal)
    started = terminal.flujoctl("run", "heavy.yaml", "--id", "r", "--detach", "--server", ADDRESS)
    assert started.code == 0, started
    watch = terminal.start("watch", "r", "-o", "jsonl", "--server", ADDRESS)
    output_until(watch, "step_waiting")
    (worker,) = workers_of(server.pid)
    os.kill(worker, signal.SIGSTOP)
    assert terminal.flujoctl("signal", "r", "go", "--server", ADDRESS).code == 0
    output_until(watch, '"step":"heavy"')

    server.send_signal(signal.SIGTERM)

    assert finish(server).code == 0
    assert not is_alive(worker)
    kill(watch)
    following = _serve(terminal)
    ended = terminal.flujoctl("wait", "r", "--server", ADDRESS)
    assert ended.code == 0, ended
    following.send_signal(signal.SIGTERM)
    assert finish(following).code == 0


def _serve(terminal: Terminal) -> subprocess.Popen[str]:
    server = terminal.start("serve", "--store", SQLITE)
    output_until(server, "listening")
    return server
