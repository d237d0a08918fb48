"""`flujoctl reject`: answer a run that waits for a person, with no."""

from __future__ import annotations

from flujo.cli.answering import Answer, answering, send_answer
from flujo.cli.selecting import Named
from flujo.cli.session import Session, declare


@declare("reject", formats=("table", "json", "jsonl", "yaml"))
@answering
def command(session: Session, named: Named, answer: Answer) -> int:
    """Reject what a run waits for: send SIGNAL, or the one signal that it waits for now.

    The payload is {"approved": false, "by": NAME, "comment": TEXT}, which the step has as its result. Without ID, all
    runs that options choose are answered, by default those that wait. `signal` sends any other payload.
    """
    return send_answer(session, named, answer, is_yes=False)
