"""Bugs planted on purpose, to show that sweeps and episodes would see them. Product code knows nothing of this.

Each mutant is a context manager: while it is entered, kernels have that bug. `PLANTED` says which invariant each one
breaks (`invariant_checker.INVARIANTS`), and what that looks like."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple
from unittest import mock

import anyio

from flujo.backends.memory import InMemoryBackend
from flujo.kernel import Event, Kernel, RunSummary
from flujo.kernel.backend import Commit, Posted, Refused, Removal, RunFilter
from flujo.kernel.clock import SystemClock
from flujo.kernel.codecs import PLAIN, Codec
from flujo.kernel.events import Fact, SignalReceived, StepCompleted, StepInterrupted
from flujo.kernel.execution import child_runs, leaving, step_runner
from flujo.kernel.execution.child_runs import ChildRuns
from flujo.kernel.execution.committer import Batch
from flujo.kernel.execution.leaving import LooseWork
from flujo.kernel.execution.live_run import LiveRun
from flujo.kernel.execution.replay import LAST, Replay
from flujo.kernel.execution.step_runner import StepRunner
from flujo.kernel.journal import decisions, fold
from flujo.kernel.keys import Branch
from flujo.kernel.ownership.admission import Admission
from flujo.kernel.ownership.driver import Driver
from flujo.kernel.ownership.starting import Started, Starter
from flujo.kernel.ownership.takeover import Takeover
from flujo.kernel.ownership.timers import Alarm
from flujo.kernel.state import Signal, StepState, StepStatus, WorkflowState
from flujo.kernel.transitions import Stop

Mutant = Callable[[], AbstractContextManager[object]]


@contextmanager
def acknowledges_before_durable() -> Iterator[None]:
    """A step's body begins as soon as its start is recorded, and not when it is durable."""
    wait = Batch.durable

    async def durable(self: Batch) -> None:
        if not any(share.rows[-1].type == "step_started" for share in self.shares.values()):
            await wait(self)

    with mock.patch.object(Batch, "durable", durable):
        yield


@contextmanager
def counts_repeats_across_branches() -> Iterator[None]:
    """All branches of a run count the repeats of a name together, so a key depends on who came first."""
    counts: ContextVar[dict[str, int]] = ContextVar("counts")
    make = Branch.__init__

    def initialize(self: Branch, prefix: str, task: int, uid: str = "") -> None:
        make(self, prefix, task, uid)
        if not prefix:  # the branch a program begins in
            counts.set({})
        self._counts = counts.get()

    with mock.patch.object(Branch, "__init__", initialize):
        yield


@contextmanager
def hands_out_live_values() -> Iterator[None]:
    """A program receives the value its step returned, and only on replay the one read back from the journal."""
    exchange = Codec.exchange

    def keep(self: Codec, value: Any) -> tuple[str, Any]:
        return exchange(self, value)[0], value

    with mock.patch.object(Codec, "exchange", keep):
        yield


@contextmanager
def replays_newest_first() -> Iterator[None]:
    """Recorded outcomes are handed out in the reverse of the order they were recorded in."""
    make, turn = Replay.__init__, Replay.until_due

    def initialize(self: Replay, state: WorkflowState, *rest: Any) -> None:
        make(self, state, *rest)
        self._due = deque(-seq for seq in reversed(self._due))

    async def reversed_turn(self: Replay, seq: int = LAST) -> None:
        await turn(self, seq if seq == LAST else -seq)

    with mock.patch.object(Replay, "__init__", initialize), mock.patch.object(Replay, "until_due", reversed_turn):
        yield


@contextmanager
def replays_as_asked() -> Iterator[None]:
    """Recorded outcomes are handed out to whoever asks first, in the order tasks happen to run."""

    async def at_once(self: Replay, seq: int = LAST) -> None:
        pass

    with mock.patch.object(Replay, "until_due", at_once):
        yield


# -- recording ----------------------------------------------------------------------------------------------------


@contextmanager
def acknowledges_starts_before_durable() -> Iterator[None]:
    """Whoever starts a run is told that it exists as soon as that is recorded, and not when it is durable."""
    wait = Batch.durable

    async def durable(self: Batch) -> None:
        if not any(share.rows[-1].type == "run_created" for share in self.shares.values()):
            await wait(self)

    with mock.patch.object(Batch, "durable", durable):
        yield


@contextmanager
def records_a_success_twice() -> Iterator[None]:
    """The success of a step that was once interrupted is recorded by both of its attempts."""
    record = LiveRun.record

    def twice(self: LiveRun, fact: Fact, *rest: Any, **more: Any) -> Batch:
        if isinstance(fact, StepCompleted) and self.state.steps[fact.step].interruptions:
            record(self, fact, *rest, **more)
        return record(self, fact, *rest, **more)

    with mock.patch.object(LiveRun, "record", twice):
        yield


@contextmanager
def forgets_who_watches() -> Iterator[None]:
    """Nobody who watches a run is told that it has gone on."""
    with mock.patch.object(Driver, "committed"):
        yield


@contextmanager
def repeats_an_event() -> Iterator[None]:
    """A watcher that comes back sees the last event it has seen once more."""
    watch = Kernel.watch

    def earlier(self: Kernel, run_id: str, after_seq: int = 0, **more: Any) -> AsyncGenerator[Event, None]:
        return watch(self, run_id, max(0, after_seq - 1), **more)

    with mock.patch.object(Kernel, "watch", earlier):
        yield


@contextmanager
def takes_any_inputs_for_the_same() -> Iterator[None]:
    """A start of a run that is there is the same start, whatever its inputs."""

    async def attach(self: Starter, run_id: str, *rest: Any) -> Started:
        return Started(run_id, created=False)

    with mock.patch.object(Starter, "_attach", attach):
        yield


# -- owning -------------------------------------------------------------------------------------------------------


@contextmanager
def forgets_the_token() -> Iterator[None]:
    """A commit is compared with the last event of its run, but not with the token of its owner."""
    extend = InMemoryBackend._extend

    def forgetful(self: InMemoryBackend, commit: Commit, blocked: Collection[str]) -> Refused | None:
        run = self._find(commit.run_id)
        return extend(self, commit if run is None else commit._replace(token=run.summary.token), blocked)

    with mock.patch.object(InMemoryBackend, "_extend", forgetful):
        yield


@contextmanager
def keeps_the_token() -> Iterator[None]:
    """A claim makes another owner, and does not raise the token."""
    claim = InMemoryBackend.claim

    async def lazily(self: InMemoryBackend, run_id: str) -> RunSummary:
        run = self._require_run(run_id)
        claimed = await claim(self, run_id)
        run.summary = claimed._replace(token=claimed.token - 1)
        return run.summary

    with mock.patch.object(InMemoryBackend, "claim", lazily):
        yield


@contextmanager
def takes_the_living_for_dead() -> Iterator[None]:
    """A kernel takes over whatever it is asked about, although its owner is alive."""

    async def is_alive(self: InMemoryBackend, owner: str) -> bool:
        return owner == self._owner

    def require_idle(self: InMemoryBackend, summary: RunSummary) -> None:
        pass

    with (
        mock.patch.object(InMemoryBackend, "is_alive", is_alive),
        mock.patch.object(InMemoryBackend, "_require_idle", require_idle),
    ):
        yield


@contextmanager
def goes_on_after_a_refusal() -> Iterator[None]:
    """An owner whose commit was refused does not stop its run."""
    stop = LiveRun.stop

    def stubborn(self: LiveRun, why: Stop) -> None:
        if why is not Stop.FENCED:
            stop(self, why)

    with mock.patch.object(LiveRun, "stop", stubborn):
        yield


# -- recovering ---------------------------------------------------------------------------------------------------


@contextmanager
def loses_a_signal() -> Iterator[None]:
    """Who takes a run over takes for answered what was posted to it meanwhile."""
    go_on = Takeover._go_on

    def forgetful(self: Takeover, run: LiveRun, facts: Any, posts: Sequence[Posted] = (), **more: Any) -> Batch | None:
        taken = [*more.pop("taken", ()), *(posted.id for posted in posts)]
        return go_on(self, run, facts, (), taken=taken, **more)

    with mock.patch.object(Takeover, "_go_on", forgetful):
        yield


@contextmanager
def loses_the_pause_request() -> Iterator[None]:
    """Who takes a run over goes on with it, although a pause was asked for."""
    decide = decisions.at_recovery

    def forgetful(state: WorkflowState, *rest: Any, **more: Any) -> list[Fact]:
        state.pause_requested_at = None
        return decide(state, *rest, **more)

    with mock.patch("flujo.kernel.ownership.takeover.at_recovery", forgetful):
        yield


@contextmanager
def loses_the_cancel_request() -> Iterator[None]:
    """Who takes a run over goes on with it, although a cancel was asked for."""
    decide = decisions.at_recovery

    def forgetful(state: WorkflowState, *rest: Any, **more: Any) -> list[Fact]:
        state.cancel_requested_at = None
        return decide(state, *rest, **more)

    with mock.patch("flujo.kernel.ownership.takeover.at_recovery", forgetful):
        yield


@contextmanager
def runs_completed_steps_again() -> Iterator[None]:
    """A step that has completed is attempted once more on replay."""
    with mock.patch.object(step_runner, "SETTLED", (StepStatus.FAILED, StepStatus.SKIPPED)):
        yield


@contextmanager
def skips_a_map_item() -> Iterator[None]:
    """An item of a map that was interrupted is taken for done."""
    perform = StepRunner.perform

    async def forgetful(self: StepRunner, key: str, *rest: Any) -> Any:
        step = self._run.state.steps.get(key)
        if step is not None and step.interruptions and key.endswith("]"):
            return [key, ""]
        return await perform(self, key, *rest)

    with mock.patch.object(StepRunner, "perform", forgetful):
        yield


@contextmanager
def resumes_with_a_stale_attempt() -> Iterator[None]:
    """The attempt after an interruption has the number of the interrupted one."""
    due = StepRunner._due

    async def stale(self: StepRunner, step: StepState) -> tuple[int, int]:
        generation, attempt = await due(self, step)
        return generation, attempt - 1 if step.interruptions else attempt

    with mock.patch.object(StepRunner, "_due", stale):
        yield


@contextmanager
def takes_an_interruption_for_a_failure() -> Iterator[None]:
    """An attempt whose owner died is one of those that may fail."""
    decide = decisions.after_failure

    def strictly(state: WorkflowState, step: StepState, *rest: Any) -> Any:
        step.failures += step.interruptions
        return decide(state, step, *rest)

    with mock.patch("flujo.kernel.execution.step_runner.after_failure", strictly):
        yield


@contextmanager
def takes_an_orderly_end_for_a_crash() -> Iterator[None]:
    """A kernel that closes counts the interruptions it causes."""
    decide = decisions.at_close

    def strictly(state: WorkflowState) -> list[Fact]:
        return [fact._replace(counted=True) for fact in decide(state) if isinstance(fact, StepInterrupted)]

    with mock.patch.object(decisions, "at_close", strictly):
        yield


@contextmanager
def takes_over_without_a_word() -> Iterator[None]:
    """A new owner does not say whose death has made it one."""
    with mock.patch("flujo.kernel.ownership.takeover.takeover_of", return_value=None):
        yield


@contextmanager
def forgets_the_backoff() -> Iterator[None]:
    """The attempt after a failure starts at once, if another owner starts it."""

    async def at_once(self: StepRunner, step: StepState) -> tuple[int, int]:
        return step.generation, step.attempt

    with mock.patch.object(StepRunner, "_due", at_once):
        yield


@contextmanager
def wakes_too_early() -> Iterator[None]:
    """A sleep that a recovered run is in ends at once."""
    wait_out = StepRunner._wait_out

    async def hurried(self: StepRunner, key: str, codec: Codec, *rest: Any) -> Any:
        step = self._run.state.steps[key]
        if step.signal is None and self._run.token > 1:
            step.until = 0
        return await wait_out(self, key, codec, *rest)

    with mock.patch.object(StepRunner, "_wait_out", hurried):
        yield


@contextmanager
def draws_again() -> Iterator[None]:
    """A recorded value is drawn anew on replay."""
    value = StepRunner.value

    async def anew(self: StepRunner, key: str, kind: str, read: Callable[[], str]) -> Any:
        await value(self, key, kind, read)
        return PLAIN.decode(read())

    with mock.patch.object(StepRunner, "value", anew):
        yield


# -- waiting ------------------------------------------------------------------------------------------------------


@contextmanager
def takes_the_newest_signal() -> Iterator[None]:
    """A wait takes the last signal of its name, and not the first."""

    def received(state: WorkflowState, seq: int, at: int, fact: SignalReceived) -> None:
        state.signals.setdefault(fact.name, []).insert(0, Signal(seq, fact.payload))

    with mock.patch.dict(fold._HANDLERS, {SignalReceived: received}):
        yield


@contextmanager
def disowns_its_children() -> Iterator[None]:
    """Whoever recovers a parent does not know the child it waits for."""
    with mock.patch.object(child_runs, "is_child", return_value=False):
        yield


@contextmanager
def leaves_by_cancelling() -> Iterator[None]:
    """A run that leaves memory records that its program has cancelled what it waited for."""
    left = StepRunner._left

    def record(self: StepRunner, key: str, error: BaseException) -> None:
        run = self._run
        leaves = run.stopped is Stop.LEAVE
        run.stopped = None if leaves else run.stopped
        try:
            left(self, key, error)
        finally:
            run.stopped = Stop.LEAVE if leaves else run.stopped

    with mock.patch.object(StepRunner, "_left", record):
        yield


@contextmanager
def never_calls_the_queue() -> Iterator[None]:
    """A run that waits for its turn waits for ever."""
    with mock.patch.object(Admission, "call_next"):
        yield


@contextmanager
def sleeps_through_its_timers() -> Iterator[None]:
    """A run that is not in memory is not woken when its time has come."""
    with mock.patch.object(Alarm, "note"):
        yield


@contextmanager
def leaves_inside_of_a_handler() -> Iterator[None]:
    """A run leaves memory although its program is inside of a handler, which is executed then."""
    with mock.patch.object(leaving, "is_guarded", return_value=False):
        yield


@contextmanager
def forgets_what_is_left_on_the_loop() -> Iterator[None]:
    """A run leaves memory although its program has started tasks or timers that go on."""
    with mock.patch.object(LooseWork, "of", return_value=False):
        yield


@contextmanager
def lets_children_outlive_their_parent() -> Iterator[None]:
    """A run that ends leaves the children alone that its program has not asked for again since a restart."""
    with mock.patch.object(ChildRuns, "cancel_given_up"):
        yield


# -- clocks and removals ------------------------------------------------------------------------------------------


@contextmanager
def lets_a_jump_back_delay_timers() -> Iterator[None]:
    """A kernel goes by the wall clock alone, also while that is set back."""

    def now(self: SystemClock) -> int:
        return self._wall() // 1000

    with mock.patch.object(SystemClock, "now", now):
        yield


@contextmanager
def prunes_by_run_id() -> Iterator[None]:
    """A prune looks for what it may remove, and removes what has the same ids a little later."""
    prune = InMemoryBackend.prune

    async def slowly(self: InMemoryBackend, filter: RunFilter, *, limit: int, dry_run: bool) -> Removal:
        removal = await prune(self, filter, limit=limit, dry_run=True)
        if not dry_run:
            await anyio.sleep(0.05)
            for run in [self._find(summary.run_id) for summary in removal.runs]:
                if run is not None:
                    self._remove(run.summary)
        return removal

    with mock.patch.object(InMemoryBackend, "prune", slowly):
        yield


@contextmanager
def deletes_by_run_id() -> Iterator[None]:
    """A delete removes the run that has the id by then, and not the one that it was to remove."""
    delete = InMemoryBackend.delete

    async def whichever(self: InMemoryBackend, run_id: str, uid: str) -> None:
        await anyio.sleep(0.02)
        await delete(self, run_id, self._require_run(run_id).summary.uid)

    with mock.patch.object(InMemoryBackend, "delete", whichever):
        yield


MUTANTS: dict[str, Mutant] = {
    mutant.__name__: mutant
    for mutant in (
        acknowledges_before_durable,
        counts_repeats_across_branches,
        hands_out_live_values,
        replays_newest_first,
        replays_as_asked,
    )
}
"""Those that sweeps of crashes are shown to see."""


class Planted(NamedTuple):
    """A bug, the invariant it breaks, and a pattern of what is said when it is caught."""

    mutant: Mutant
    breaks: int
    shows: str
    seed: int = 1
    """An episode that has shown it, which is tried before all others. Whatever changes what kernels do may end that,
    and the search for another takes most of the time of such a test: write down what it finds."""


HANGS = "no end after|still not ended|has not ended|have not|did not complete|Stuck"

PLANTED = [
    Planted(acknowledges_starts_before_durable, 1, "was acknowledged and is not durable"),
    Planted(loses_a_signal, 1, f"was acknowledged and is lost|{HANGS}", seed=17),
    Planted(loses_the_pause_request, 14, "a pause was asked for|the journal says", seed=439),
    Planted(loses_the_cancel_request, 14, "a cancel was asked for|the journal says", seed=754),
    Planted(records_a_success_twice, 2, "it has an outcome already, step_completed"),
    Planted(runs_completed_steps_again, 2, "it has an outcome already, step_completed"),
    Planted(draws_again, 2, "undisturbed it is"),
    Planted(acknowledges_before_durable, 3, "begins without a durable start|the last durable fact about its step"),
    Planted(resumes_with_a_stale_attempt, 3, "the last attempt was"),
    Planted(takes_an_interruption_for_a_failure, 3, "it may be tried again", seed=39),
    Planted(counts_repeats_across_branches, 6, "undisturbed it is|StateIncompatibilityError", seed=8),
    Planted(hands_out_live_values, 6, "undisturbed it is"),
    Planted(replays_newest_first, 6, "undisturbed it is", seed=39),
    Planted(replays_as_asked, 6, f"undisturbed it is|StateIncompatibilityError|{HANGS}"),
    Planted(skips_a_map_item, 6, f"undisturbed it is|{HANGS}"),
    Planted(disowns_its_children, 6, "has the child|undisturbed it is|still not ended|not completed"),
    Planted(forgets_the_token, 7, "with token .* owns it with", seed=50),
    Planted(keeps_the_token, 7, "has claimed .* with token"),
    Planted(takes_the_living_for_dead, 7, "has claimed .* owns"),
    Planted(goes_on_after_a_refusal, 7, "begins without a durable start|begins a second time|has left behind"),
    Planted(repeats_an_event, 9, "a watcher of .* has received event"),
    Planted(forgets_who_watches, 10, HANGS, seed=66),
    Planted(leaves_by_cancelling, 10, HANGS),
    Planted(never_calls_the_queue, 10, HANGS, seed=28),
    Planted(sleeps_through_its_timers, 10, HANGS),
    Planted(takes_any_inputs_for_the_same, 12, "was started with other inputs than it has"),
    Planted(forgets_the_backoff, 13, "it is due at", seed=18),
    Planted(wakes_too_early, 13, "it sleeps until", seed=15),
    Planted(takes_the_newest_signal, 15, "untaken signals are"),
    Planted(takes_an_orderly_end_for_a_crash, 16, "an interruption is counted"),
    Planted(leaves_inside_of_a_handler, 17, "has left memory, which has executed", seed=43),
    Planted(forgets_what_is_left_on_the_loop, 17, "has left memory, and has left behind"),
    Planted(lets_children_outlive_their_parent, 10, f"after its parent was cancelled|{HANGS}", seed=77),
    Planted(
        lets_a_jump_back_delay_timers, 18, "longer than it was told to|it sleeps until|it waits until|it is due at"
    ),
    Planted(prunes_by_run_id, 19, "which nobody has asked for|has removed .* owns", seed=134),
    Planted(takes_over_without_a_word, 20, "is taken over with"),
    Planted(deletes_by_run_id, 19, "which nobody has asked for|has removed .* owns", seed=134),
]
"""Those that episodes are shown to see."""
