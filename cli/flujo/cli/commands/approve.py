"""`flujoctl approve`: answer a run that waits for a person, with yes."""

from __future__ import annotations

from flujo.cli.answering import Answer, answering, send_answer
from flujo.cli.selecting import Named
from flujo.cli.session import Session, declare


@declare("approve", formats=("table", "json", "jsonl", "yaml"))
@answering
def command(session: Session, named: Named, answer: Answer) -> int:
    """Approve what a run waits for: send SIGNAL, or the one signal that it waits for now.

    The payload is {"approved": true, "by": NAME, "comment": TEXT}, which the step has as its result. Without ID, all
    runs that options choose are answered, by default those that wait. `signal` sends any other payload.
    """
    return send_answer(session, named, answer, is_yes=True)
