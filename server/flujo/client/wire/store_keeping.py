"""Reports of a check, and what became of imported runs, to messages and back."""

from __future__ import annotations

from flujo.kernel.checking import Finding, Report, Severity
from flujo.kernel.transfer import Arrival, Outcome
from flujo.v1 import run_service_pb2, system_service_pb2

from .limits import shorten
from .words import Words

IMPORT_OUTCOMES = Words(run_service_pb2.ImportOutcome)
CHECK_SEVERITIES = Words(system_service_pb2.CheckSeverity)

_COUNTS = ("runs", "events", "interrupted", "orphans", "damaged", "newer")


def to_report(report: Report) -> system_service_pb2.CheckReport:
    """Return the message of a report."""
    made = system_service_pb2.CheckReport(**{name: getattr(report, name) for name in _COUNTS})
    made.findings.extend(map(_to_finding, report.findings))
    shorten(made)
    return made


def from_report(message: system_service_pb2.CheckReport) -> Report:
    """Return the report in a message."""
    findings = [
        Finding(
            Severity.NEWER if CHECK_SEVERITIES.word(each.severity) == Severity.NEWER else Severity.DAMAGED,
            each.run_id if each.HasField("run_id") else None,
            each.text,
            tuple(each.commands),
        )
        for each in message.findings
    ]
    counts = {name: int(getattr(message, name)) for name in _COUNTS}
    return Report(**counts, findings=findings)


def _to_finding(finding: Finding) -> system_service_pb2.CheckFinding:
    return system_service_pb2.CheckFinding(
        severity=CHECK_SEVERITIES.number(finding.severity.value),
        run_id=finding.run_id,
        text=finding.text,
        commands=finding.commands,
    )


def from_imported(message: run_service_pb2.ImportRunResponse) -> list[Arrival]:
    """Return what became of the runs of a document. An outcome of a newer release counts as `unchanged`."""
    known = {outcome.value: outcome for outcome in Outcome}
    return [
        Arrival(each.run_id, known.get(IMPORT_OUTCOMES.word(each.outcome), Outcome.UNCHANGED)) for each in message.runs
    ]
