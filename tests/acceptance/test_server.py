"""A server runs the runs of a store, and every command works on them with `--server`."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator

import pytest

from acceptance.terminal import SQLITE, Ended, Terminal, finish, lines_until, output_until, statuses
from flujo.cli.commands.serve import YOUNG_OBJECTS

ADDRESS = "unix:.flujo/server.sock"

GATED = """\
name: gated
params: {whom: {type: string, default: world}}
steps:
  - {name: before, task: shell, inputs: {command: "echo hello {{ whom }}"}}
  - {name: approve, task: wait_signal}
  - {name: after, task: echo, inputs: {message: "{{ steps.approve.result.by }}"}}
outputs: {by: "{{ steps.after.result }}"}
"""

GREETINGS = """\
from flujo.kernel import Context, step, workflow


@step
async def greet(whom: str) -> str:
    return f"hello {whom}"


@workflow()
async def greetings(ctx: Context, whom: str = "world") -> str:
    return await ctx.step(greet, whom)
"""

COLLECTING = """\
import gc

from flujo.kernel import Context, workflow


@workflow
async def greetings(ctx: Context) -> list[object]:
    return [gc.get_threshold()[0], gc.get_freeze_count() > 10_000]
"""


@pytest.fixture
def served(terminal: Terminal) -> Iterator[subprocess.Popen[str]]:
    """A server of the folder's store, with one Python workflow; every command in the folder asks it."""
    terminal.write("gated.yaml", GATED)
    terminal.write("greetings.py", GREETINGS)
    server = serve(terminal)
    terminal.environment["FLUJO_SERVER"] = ADDRESS
    yield server
    if server.poll() is None:
        stop(server)


def serve(terminal: Terminal) -> subprocess.Popen[str]:
    """A server that accepts calls."""
    server = terminal.start("serve", "greetings.py:greetings", "--store", SQLITE)
    assert output_until(server, "listening") == [f"listening at {ADDRESS}"]
    return server


def stop(server: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> Ended:
    """How a server ends that is told to."""
    if server.poll() is None:
        server.send_signal(number)
    return finish(server)


def test_a_run_of_a_server_is_started_followed_and_signalled(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """A YAML file is sent along; its run is seen by list, inspect and watch, and by commands on the store itself."""
    run = terminal.start("run", "gated.yaml", "whom=Ada", "--id", "gate")
    printed = lines_until(run, "waiting for the signal")[-1]
    watch = terminal.start("watch", "gate", "-o", "jsonl")
    seen = [json.loads(line)["type"] for line in output_until(watch, "step_waiting")]
    listed = json.loads(terminal.flujoctl("list", "-o", "json").out)
    del terminal.environment["FLUJO_SERVER"]
    embedded = terminal.inspect("gate", "--store", SQLITE)
    terminal.environment["FLUJO_SERVER"] = ADDRESS
    state = terminal.inspect("gate")

    assert printed.endswith("send it with: flujoctl signal gate approve")
    assert seen == [
        "run_created",
        "step_started",
        "progress_reported",  # what its command has used
        "step_completed",
        "step_started",
        "step_waiting",
    ]
    assert [(each["run_id"], each["status"]) for each in listed] == [("gate", "waiting")]
    assert state == embedded
    assert state["steps"][0]["output"]["stdout"] == "hello Ada\n"

    assert terminal.flujoctl("signal", "gate", "approve", '{"by": "Grace"}').code == 0
    ended, watched = finish(run), finish(watch)
    assert ended.code == 0, ended
    assert ended.out.splitlines()[0].startswith("completed  gate")
    assert "Grace" in ended.out
    assert watched.code == 0


def test_the_log_of_a_run_of_a_server_is_shown_and_followed(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """The file lies on the machine of the server; whoever follows sees each line once, and the end."""
    terminal.write(
        "talking.yaml",
        "name: talking\nsteps:\n"
        "  - name: talk\n    task: shell\n    inputs:\n      working_dir: '{{ start_dir }}'\n"
        "      command: echo before; while ! [ -e seen ]; do sleep 0.02; done; echo after; exit 3\n",
    )
    run = terminal.start("run", "talking.yaml", "--id", "r")
    lines_until(run, "talk: started")
    follow = terminal.start("logs", "r", "--follow")
    first = output_until(follow, "before")
    terminal.write("seen", "")
    rest, ended = finish(follow), finish(run)

    assert first + rest.out.splitlines() == ["talk.1| before", "talk.1| after"]
    assert rest.code == 0
    assert "try: flujoctl logs r --step talk" in ended.err.splitlines()
    assert terminal.flujoctl("logs", "r", "--step", "talk", "--tail", "1").out == "talk.1| after\n"


def test_a_program_of_a_server_keeps_no_log(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """The server says so as the command itself would."""
    assert terminal.flujoctl("run", "greetings", "whom=Ada", "--id", "program").code == 0
    ended = terminal.flujoctl("logs", "program")

    assert (ended.code, "only runs of YAML workflows keep one" in ended.err) == (3, True)


def test_a_server_looks_for_garbage_less_often(terminal: Terminal) -> None:
    """And never among what it has imported; the programs of users notice nothing but the time."""
    terminal.write("greetings.py", COLLECTING)
    server = serve(terminal)
    ended = terminal.flujoctl("run", "greetings", "--server", ADDRESS, "-o", "json")
    stop(server)

    assert json.loads(ended.out)["output"] == [YOUNG_OBJECTS, True]


def test_a_part_of_a_workflow_is_chosen_on_a_server_too(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """What was chosen goes along with the file, and stays over the death of the server."""
    terminal.write(
        "parts.yaml",
        "name: parts\nsteps:\n  - {name: a, task: noop}\n  - {name: b, task: noop}\n"
        "  - {name: go, task: wait_signal}\n  - {name: c, task: noop}\n  - {name: d, task: noop}\n"
        "flows: {definitions: [{most: [a, b, go, d]}]}\n",
    )
    terminal.flujoctl(
        *("run", "parts.yaml", "--id", "r", "--detach"), *("--flow", "most", "--skip-steps", "d", "--start-from", "b")
    )
    wrong = terminal.flujoctl("run", "parts.yaml", "--flow", "mots")
    named = terminal.flujoctl("run", "greetings", "--skip-steps", "greet")
    stop(served, signal.SIGKILL)
    server = serve(terminal)
    terminal.flujoctl("signal", "r", "go")
    waited = terminal.flujoctl("wait", "r")
    found = {step["name"]: step["status"] for step in terminal.inspect("r")["steps"]}
    stop(server)

    assert (wrong.code, named.code) == (2, 2), (wrong, named)
    assert "there is no flow `mots`; did you mean `most`?" in wrong.err
    assert "it is a Python workflow, which decides by itself what its steps are" in named.err
    assert waited.code == 0
    assert found == {"a": "skipped", "b": "completed", "go": "completed", "d": "skipped"}


def test_what_a_file_imports_is_sent_along(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """The server reads no file for it, and goes on with what it was sent after its death; a resume sends what the files
    have come to say."""
    terminal.write("base.yaml", "steps: [{name: first, task: echo, inputs: {message: one}}]\n")
    terminal.write(
        "main.yaml",
        "name: main\nimports: base.yaml\nsteps:\n  - {name: go, task: wait_signal}\n"
        "  - {name: last, task: shell, inputs: {command: 'test {{ steps.first.result }} = two'}}\n",
    )
    terminal.flujoctl("run", "main.yaml", "--id", "r", "--detach")
    terminal.write("base.yaml", "steps: [{name: first, task: echo, inputs: {message: two}}]\n")
    stop(served, signal.SIGKILL)
    server = serve(terminal)
    terminal.flujoctl("signal", "r", "go")
    failed = terminal.flujoctl("wait", "r")
    refused = terminal.flujoctl("resume", "r")
    again = terminal.flujoctl("resume", "r", "--from-step", "first", "--no-wait")
    terminal.flujoctl("signal", "r", "go")
    waited = terminal.flujoctl("wait", "r")
    stop(server)

    assert failed.code == 1
    assert refused.code == 4
    assert "first: its task, inputs or condition have changed" in refused.err
    assert (again.code, waited.code) == (7, 0), (again, waited)


def test_a_python_workflow_is_named_and_never_sent(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """What the server was started with runs under its name; a file of Python is refused with the command that serves
    it."""
    named = terminal.flujoctl("run", "greetings", "whom=Ada", "-o", "json")
    sent = terminal.flujoctl("run", "greetings.py:greetings")
    unknown = terminal.flujoctl("run", "other")

    assert named.code == 0, named
    assert json.loads(named.out)["output"] == "hello Ada"
    assert (sent.code, sent.remedies[0]) == (2, "flujoctl serve greetings.py:greetings")
    assert unknown.code == 3
    assert "it has: greetings" in unknown.err


def test_a_detached_run_prints_its_id_and_goes_on(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """--detach returns when the run is durable; the printed command follows it."""
    detached = terminal.flujoctl("run", "greetings", "--detach")

    followed = terminal.shell(detached.remedies[0])

    assert detached.code == followed.code == 0, (detached, followed)
    assert terminal.inspect(detached.out.strip())["status"] == "completed"


def test_ctrl_c_ends_the_following_and_not_the_run(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """The exit code is 130, and the printed command goes on watching."""
    run = terminal.start("run", "gated.yaml", "--id", "gate")
    lines_until(run, "waiting for the signal")
    run.send_signal(signal.SIGINT)
    interrupted = finish(run)
    state = terminal.inspect("gate")
    terminal.flujoctl("signal", "gate", "approve", '{"by": "Grace"}')

    assert (interrupted.code, interrupted.remedies) == (130, ["flujoctl watch gate"])
    assert (state["status"], state["interrupted"]) == ("waiting", False)
    assert terminal.shell(interrupted.remedies[0]).code == 0


def test_a_killed_server_is_replaced_and_its_watchers_go_on(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """SIGKILL in the middle of a step: the next server takes the run up by itself, and a watch that was open all the
    time shows the rest and ends with the run."""
    terminal.fifo("begun")
    terminal.write(
        "slow.yaml",
        "name: slow\n"
        "steps:\n"
        "  - {name: first, task: noop}\n"
        "  - {name: second, task: shell, inputs: {command: \"[ -e '{{ start_dir }}/again' ] || "
        "{ touch '{{ start_dir }}/again'; echo $$ > '{{ start_dir }}/begun'; sleep 600; }\"}}\n",
    )
    terminal.flujoctl("run", "slow.yaml", "--id", "slow", "--detach")
    watch = terminal.start("watch", "slow", "-o", "jsonl")
    seen = output_until(watch, '"step":"second"')
    terminal.read("begun")
    served.kill()
    served.communicate()
    for _ in range(4):  # long enough for the watch to ask for more than events, and nobody answers
        assert terminal.flujoctl("list").code == 5
    following = serve(terminal)

    ended = finish(watch)

    events = [json.loads(line) for line in [*seen, *ended.out.splitlines()]]
    assert ended.code == 0, ended
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events[-6:]] == [
        "run_taken_over",
        "step_interrupted",
        "step_started",
        "progress_reported",  # what its command has used
        "step_completed",
        "run_completed",
    ]
    stop(following)


def test_a_server_that_stops_in_good_order_counts_no_interruption(
    terminal: Terminal, served: subprocess.Popen[str]
) -> None:
    """SIGTERM: exit code 0, the socket is gone, and the step starts again with the next server."""
    terminal.flujoctl("run", "gated.yaml", "--id", "gate", "--detach")
    ended = stop(served)

    assert ended.code == 0, ended
    assert "stopped cleanly" in ended.err
    assert not (terminal.folder / ".flujo/server.sock").exists()
    unreachable = terminal.flujoctl("list")
    assert unreachable.code == 5
    assert unreachable.remedies[0] == f"flujoctl serve --listen {ADDRESS}"

    following = serve(terminal)
    assert terminal.inspect("gate")["interrupted"] is False
    stop(following)


def test_acting_on_runs_of_a_server(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """cancel, resume, delete and prune do with a server what they do without one, errors and exit codes included."""
    for run_id in ("one", "two", "three"):
        terminal.flujoctl("run", "gated.yaml", "--id", run_id, "--detach")

    refused = terminal.flujoctl("delete", "one")
    assert (refused.code, refused.remedies[0]) == (4, "flujoctl watch one")
    assert terminal.flujoctl("cancel", "one").out == "run one is cancelled\n"
    assert terminal.flujoctl("delete", "two", "--force").code == 0
    assert terminal.flujoctl("inspect", "two").code == 3
    resumed = terminal.flujoctl("resume", "one", "--no-wait")
    assert resumed.code == 7, resumed
    assert statuses(terminal.inspect("one")) == ["completed", "waiting"]
    terminal.flujoctl("cancel", "one", "three")
    foretold = json.loads(terminal.flujoctl("prune", "--older-than", "0", "--dry-run", "-o", "json").out)
    pruned = json.loads(terminal.flujoctl("prune", "--older-than", "0", "--yes", "-o", "json").out)

    assert sorted(run["run_id"] for run in foretold) == ["one", "three"]
    assert foretold == pruned
    assert terminal.flujoctl("list", "-q").out == ""
    assert not (terminal.folder / ".flujo/workspaces/one").exists()


def test_finding_and_adding_up_runs_of_a_server(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """list with its filters, its count and its next page, stats, and what a prune keeps are the same with a server."""
    for run_id in ("one", "two", "three"):
        terminal.flujoctl("run", "gated.yaml", "--id", run_id, "--detach", "--label", f"letters={len(run_id)}")
    terminal.flujoctl("cancel", "one", "two")

    first = terminal.flujoctl("list", "-o", "name", "--label", "letters=3", "--since", "1h", "--limit", "1")
    following = terminal.shell(first.remedies[0])
    assert first.out == "two\n"
    assert following.out.splitlines()[1].split()[0] == "one"
    assert terminal.flujoctl("list", "--count", "--idle", "0s").out == "1\n"
    (told,) = json.loads(terminal.flujoctl("stats", "--window", "1h", "-o", "json").out)["workflows"]
    assert told["ended"] == {"cancelled": 2}
    assert told["created"] == 3
    assert terminal.flujoctl("prune", "--keep-last", "1", "--yes", "-o", "name").out == "one\n"
    kept = terminal.flujoctl("prune", "--id-prefix", "t", "--dry-run")
    assert kept.err.splitlines()[-1] == "kept 1 run of that age that is still active"
    assert terminal.flujoctl("list", "-q").out == "three\ntwo\n"


def test_an_edited_file_is_used_for_a_resume_or_refused(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """The file the run came from is sent along when it has changed; a contradiction is refused with every remedy."""
    terminal.write("gated.yaml", GATED.replace("echo hello", "exit 3; echo hello"))
    assert terminal.flujoctl("run", "gated.yaml", "--id", "gate").code == 1
    terminal.write("gated.yaml", GATED)

    resumed = terminal.flujoctl("resume", "gate", "--no-wait")
    terminal.flujoctl("cancel", "gate")
    terminal.write("gated.yaml", GATED.replace("echo hello", "echo hi"))
    refused = terminal.flujoctl("resume", "gate")

    assert resumed.code == 7, resumed
    assert "has changed since this run last began" in resumed.err
    assert refused.code == 4
    assert "before: its task, inputs or condition have changed" in refused.err
    assert "flujoctl resume gate --stored" in refused.remedies[0]


def test_one_server_at_an_address(terminal: Terminal, served: subprocess.Popen[str]) -> None:
    """A second one is refused and the first one goes on; its socket is for its owner alone."""
    del terminal.environment["FLUJO_SERVER"]
    second = terminal.flujoctl("serve", "--store", "sqlite:other.db", "--listen", ADDRESS)

    assert second.code == 4, second
    assert terminal.flujoctl("list", "--server", ADDRESS).code == 0
    assert stat.S_IMODE(os.stat(terminal.folder / ".flujo/server.sock").st_mode) == 0o600


def test_without_the_extra_a_server_says_what_to_install(terminal: Terminal) -> None:
    """An installation without grpc answers with the one line that helps, for serving and for asking alike."""
    script = "import sys; sys.modules['grpc'] = None; import flujoctl; flujoctl.main()"

    for arguments in (["serve"], ["list", "--server", ADDRESS]):
        ended = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=terminal.folder,
            env=terminal.environment,
            capture_output=True,
            text=True,
            check=False,
        )

        assert ended.returncode == 2, ended
        assert "try: pip install 'flujoctl[grpc]'" in ended.stderr


SECRET = """\
name: secret
secrets: [API_TOKEN]
steps:
  - {name: say, task: shell, inputs: {command: 'echo "$API_TOKEN"; echo "$API_TOKEN" >&2'}}
  - {name: fail, task: fail, inputs: {message: "no {{ secrets.API_TOKEN }}"}, on_error: continue}
outputs: {said: "{{ steps.say.result.stdout }}", token: "{{ env.API_TOKEN }}"}
"""


def test_a_secret_is_the_servers_own_and_in_none_of_its_answers(terminal: Terminal) -> None:
    """Whoever asks need not know it; a server that does not know it says so before anything runs."""
    terminal.write("greetings.py", GREETINGS)
    terminal.write("secret.yaml", SECRET)
    terminal.environment["API_TOKEN"] = "canary-of-the-server"
    server = serve(terminal)
    del terminal.environment["API_TOKEN"]
    terminal.environment["FLUJO_SERVER"] = ADDRESS

    ended = terminal.flujoctl("run", "secret.yaml", "--id", "r", "-v")
    commands = (["inspect", "r", "-o", "json"], ["events", "r", "-o", "jsonl"], ["export", "r"], ["explain", "r"])
    told = [terminal.flujoctl(*command) for command in commands]
    stop(server)
    unknowing = serve(terminal)
    refused = terminal.flujoctl("run", "secret.yaml")
    stop(unknowing)

    assert ended.code == 0, ended
    assert "***" in told[0].out
    assert "canary" not in "".join(each.out + each.err for each in (ended, *told))
    assert refused.code == 2
    assert "secrets.API_TOKEN: is not set in the environment" in refused.err
