"""The examples of tasks, run by `flujoctl run` on success and on failure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.terminal import ROOT
from cli.conftest import Ended, Flujoctl
from workflows.tasks.conftest import Runs
from workflows.tasks.local_server import LocalServer, Reply, serving

EXAMPLES = ROOT / "examples"


def run(flujoctl: Flujoctl, example: str, *arguments: str) -> Ended:
    """Run an example as `r`."""
    return flujoctl("run", str(EXAMPLES / example), "--id", "r", *arguments)


# -- a data pipeline with branches ------------------------------------------------------------------------------------

ORDERS = [("ada", 5), ("bob", 100), ("ada", 7.5)]


@pytest.mark.parametrize("kind", ["json", "csv", "CSV"])
def test_the_pipeline_takes_the_branch_of_its_file(kind: str, runs: Runs) -> None:
    """And comes to the same totals by either."""
    file = runs.folder / f"my orders.{kind}"
    if kind == "json":
        file.write_text(json.dumps([{"customer": name, "amount": amount} for name, amount in ORDERS]))
    else:
        file.write_text("customer,amount\n" + "".join(f"{name},{amount}\n" for name, amount in ORDERS))

    ended = run(runs.flujoctl, "data-pipeline.yaml", f"input={file.name}", "least=10")

    assert ended.code == 0, ended
    state = runs.state()
    totals = [{"customer": "bob", "total": 100.0}, {"customer": "ada", "total": 12.5}]
    assert state["output"]["totals"] == totals
    assert json.loads(Path(state["output"]["file"]).read_text()) == totals
    skipped = {step["name"] for step in state["steps"] if step["status"] == "skipped"}
    assert skipped == {"other", "report-mistake", "from-csv" if kind == "json" else "from-json"}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.xml", "<a/>", "a.xml is neither .json nor .csv"),
        ("orders", "", "orders is neither .json nor .csv"),
        ("a.csv", "customer,amount\nada,much\n", "a.csv cannot be used: order 1 has no customer, or no amount that is"),
        ("a.json", '[{"customer": "ada"}]', "a.json cannot be used: order 1 has no customer, or no amount that is"),
        ("a.json", "[", "a.json:1:2: this is not JSON"),
    ],
)
def test_the_pipeline_says_what_is_wrong_with_its_file(name: str, text: str, told: str, runs: Runs) -> None:
    """By its name."""
    (runs.folder / name).write_text(text)

    assert run(runs.flujoctl, "data-pipeline.yaml", f"input={name}").code == 1
    assert told in runs.state()["error"]["message"]


def test_the_pipeline_says_which_file_is_not_there(runs: Runs) -> None:
    """And goes on once it is."""
    failed = run(runs.flujoctl, "data-pipeline.yaml", "input=a.csv")
    (runs.folder / "a.csv").write_text("customer,amount\nada,1\n")

    assert failed.code == 1
    assert "No such file or directory" in failed.err
    assert runs.flujoctl("resume", "r").code == 0


# -- Python functions -------------------------------------------------------------------------------------------------


def test_the_functions_report_the_warmest_city(runs: Runs) -> None:
    """Each city is measured by itself."""
    ended = run(runs.flujoctl, "python-functions.yaml", "unit=F")

    assert ended.code == 0, ended
    assert runs.state()["output"] == {"warmest": "Pune", "said": "it is warmest in Pune: 87.8 degrees"}
    assert runs.log().count("asked for ") == 3


def test_the_functions_name_a_city_that_nobody_measures(runs: Runs) -> None:
    """By the error of the function, with its line."""
    ended = run(runs.flujoctl, "python-functions.yaml", 'cities:=["Lima","Atlantis"]')

    assert ended.code == 1
    assert "LookupError: nobody measures in Atlantis (line 14 of module weather)" in ended.err


# -- polling over HTTP ------------------------------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """A service that takes orders; its exports are set by each test."""
    monkeypatch.setenv("EXPORT_TOKEN", "token-for-exports")
    with serving() as local:
        local.answer("/exports", Reply(201, b'{"id": 17}', (("Content-Type", "application/json"),)))
        local.answer("/files/17.csv", Reply(200, b"a,b\n1,2\n"))
        yield local


READY = Reply(200, b'{"file": "/files/17.csv"}')


def test_an_export_that_is_there_is_kept(server: LocalServer, runs: Runs) -> None:
    """Where the run was started."""
    server.answer("/exports/17", READY)

    ended = run(runs.flujoctl, "http-polling.yaml", f"service={server.url}", "day=2026-11-22")

    assert ended.code == 0, ended
    assert (runs.folder / "export-2026-11-22.csv").read_text() == "a,b\n1,2\n"
    assert runs.state()["output"]["bytes"] == 8
    assert {seen.headers["authorization"] for seen in server.seen} == {"Bearer token-for-exports"}
    assert json.loads(server.seen[0].body) == {"day": "2026-11-22"}


def test_an_export_is_asked_for_again_when_the_service_says(server: LocalServer, runs: Runs) -> None:
    """The run can be left meanwhile; the order stands."""
    server.answer("/exports/17", Reply(404, b"wait", (("Retry-After", "600"),)), READY)
    left = run(runs.flujoctl, "http-polling.yaml", f"service={server.url}", "day=2026-11-22", "--no-wait")
    waiting = {step["name"]: step["status"] for step in runs.state()["steps"]}

    ended = runs.flujoctl("retry", "r", "--step", "ready")

    assert (left.code, waiting["order"], waiting["ready"]) == (7, "completed", "retrying")
    assert ended.code == 0, ended
    assert [seen.path for seen in server.seen].count("/exports") == 1


def test_an_export_that_is_refused_fails_the_run_with_what_the_service_said(server: LocalServer, runs: Runs) -> None:
    """At once: another attempt would not help."""
    server.answer("/exports/17", Reply(410, b"this day is gone"))

    ended = run(runs.flujoctl, "http-polling.yaml", f"service={server.url}", "day=2026-11-22")

    assert ended.code == 1
    message = runs.state()["error"]["message"]
    assert message.startswith("the export of 2026-11-22 is not there: GET ")
    assert message.endswith("answered 410 Gone: this day is gone")
    assert "token-for-exports" not in json.dumps(runs.state())
