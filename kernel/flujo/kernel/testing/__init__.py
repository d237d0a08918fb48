"""Tools to test workflows with: virtual time, in which a month passes at once, and crashes wherever one can happen.

    from flujo.kernel.testing import crash_at_every_checkpoint, run_workflow

    def test_reminder():
        assert run_workflow(reminder, {"days": 30}) == "sent"           # 30 days in milliseconds
        crash_at_every_checkpoint(reminder, {"days": 30})               # and the same after any crash

Nothing here is loaded by itself. `flujo.kernel.testing.plugin` is a pytest plugin for those who ask for it.
docs/testing.md is the page for users; the simulator in tests/simulation stands on the same event loops.
"""

from .crashes import Crashes as Crashes
from .crashes import Different as Different
from .crashes import Meanwhile as Meanwhile
from .crashes import crash_at_every_checkpoint as crash_at_every_checkpoint
from .crashes import run_workflow as run_workflow
from .virtual import Loop as Loop
from .virtual import Stuck as Stuck
from .virtual import VirtualClock as VirtualClock
from .virtual import run_virtually as run_virtually
