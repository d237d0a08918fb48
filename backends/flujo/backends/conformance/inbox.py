"""Requests to the owners of runs."""

from __future__ import annotations

from anyio import create_task_group, fail_after
from anyio.lowlevel import checkpoint

from flujo.kernel.backend import (
    Request,
)
from flujo.kernel.errors import (
    RunFinishedError,
    RunNotFoundError,
    RunReplacedError,
)

from .harness import PATIENCE_SECONDS, Harness, behaviour, raising
from .values import create, creation, following


@behaviour
async def requests_reach_the_owner_in_order(harness: Harness) -> None:
    """The owner takes the requests for all its runs, in the order they were posted, as they were posted."""
    one = await harness.open("one")
    reader = await harness.open(None)
    (a, b) = await create(one, creation("a"), creation("b"))
    requests = [Request("signal", f'{{"n":{n}}}', n) for n in range(6)]
    for number, request in enumerate(requests):
        await reader.post("ab"[number % 2], request)
    taken = await one.take()

    assert [posted.request for posted in taken] == requests
    assert [posted.uid for posted in taken] == [a.uid, b.uid] * 3
    assert sorted({posted.id for posted in taken}) == [posted.id for posted in taken]


@behaviour
async def a_request_stays_until_answered(harness: Harness) -> None:
    """A request is taken again and again until a commit names it, and goes with that commit alone."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    await one.post("a", Request("cancel", "{}", 2))
    first, second = await one.take()
    assert list(await one.take()) == [first, second]
    await one.append([following(summary, taken=[first.id])])

    assert list(await one.take()) == [second]


@behaviour
async def a_refused_commit_answers_nothing(harness: Harness) -> None:
    """The requests named by a refused commit stay."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    (posted,) = await one.take()
    await one.append([following(summary._replace(seq=4), taken=[posted.id])])

    assert list(await one.take()) == [posted]


@behaviour
async def a_final_run_takes_no_requests(harness: Harness) -> None:
    """Posting to a completed, failed or cancelled run raises RunFinishedError; a paused one takes requests."""
    one = await harness.open("one")
    told = []
    for status in ("completed", "failed", "cancelled"):
        await create(one, creation(f"is-{status}", owner=None, status=status, finished_at=1))
        try:
            await one.post(f"is-{status}", Request("signal", "{}", 1))
        except RunFinishedError as error:
            told.append((error.run_id, error.status))
    assert told == [("is-completed", "completed"), ("is-failed", "failed"), ("is-cancelled", "cancelled")]
    await create(one, creation("paused", status="paused"))
    await one.post("paused", Request("signal", "{}", 1))

    assert len(await one.take()) == 1


@behaviour
async def paused_runs_are_found_by_what_was_asked_of_them(harness: Harness) -> None:
    """By the kind of a request in the inbox, and only those that nobody owns."""
    one, reader = await harness.open("one"), await harness.open(None)
    idle = {name: (await create(one, creation(name, owner=None, status="paused")))[0] for name in "abc"}
    await create(one, creation("owned", status="paused"), creation("waits", owner=None, status="waiting"))
    for run_id in ("a", "a", "c", "owned", "waits"):
        await reader.post(run_id, Request("cancel", "{}", 1))
    await reader.post("b", Request("signal", '{"name": "n", "payload": "1"}', 1))

    assert sorted(await one.paused_with("cancel")) == [("a", idle["a"].uid), ("c", idle["c"].uid)]
    assert await reader.paused_with("signal") == [("b", idle["b"].uid)]
    assert await reader.paused_with("pause") == []


@behaviour
async def posting_to_no_run_is_an_error(harness: Harness) -> None:
    """Posting to an id that is not there raises RunNotFoundError; so does an id in other letters."""
    one = await harness.open("one")
    await create(one, creation("a"))
    for run_id in ("b", "A"):
        with raising(RunNotFoundError):
            await one.post(run_id, Request("signal", "{}", 1))


@behaviour
async def posting_tells_how_the_run_stands(harness: Harness) -> None:
    """Posting answers with the summary at that moment, so the poster knows who will take it."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", status="waiting"))
    reader = await harness.open(None)

    assert await reader.post("a", Request("signal", "{}", 1)) == summary


@behaviour
async def requests_move_with_their_run(harness: Harness) -> None:
    """Only the owner of a run takes its requests, and after a takeover that is the new one."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a"))
    await two.post("a", Request("signal", "{}", 1))
    assert await two.take() == []
    assert len(await one.take()) == 1
    await harness.kill(one)
    await two.claim("a")

    assert [posted.request.kind for posted in await two.take()] == ["signal"]


@behaviour
async def requests_go_with_a_deleted_run(harness: Harness) -> None:
    """The requests of a deleted run are gone, also for the next run of that id."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", owner=None))
    await one.post("a", Request("signal", "{}", 1))
    await one.delete("a", summary.uid)
    await create(one, creation("a"))

    assert await one.take() == []


@behaviour
async def ids_of_requests_are_never_used_again(harness: Harness) -> None:
    """A request gets an id that no earlier one had, even if that was answered."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    seen: list[int] = []
    for _ in range(3):
        await one.post("a", Request("signal", "{}", 1))
        (posted,) = await one.take()
        seen.append(posted.id)
        commit = following(summary, taken=[posted.id])
        await one.append([commit])
        summary = commit.summary

    assert seen == sorted(set(seen))


@behaviour
async def a_post_wakes_the_owner(harness: Harness) -> None:
    """An owner that waits for posts is woken by one from another handle, and then takes it."""
    one = await harness.open("one")
    reader = await harness.open(None)
    await create(one, creation("a"))
    await one.take()
    with fail_after(PATIENCE_SECONDS):
        async with create_task_group() as tasks:
            tasks.start_soon(reader.post, "a", Request("signal", "{}", 1))
            while not await one.take():
                await one.wait_for_posts()
    assert len(await one.take()) == 1


@behaviour
async def a_post_before_the_wait_is_not_missed(harness: Harness) -> None:
    """A post that comes between taking and waiting ends the wait."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await one.take()
    await one.post("a", Request("signal", "{}", 1))
    with fail_after(PATIENCE_SECONDS):
        await one.wait_for_posts()

    assert len(await one.take()) == 1


@behaviour
async def a_claimed_run_may_bring_posts(harness: Harness) -> None:
    """A wait after claiming a run with open requests ends at once."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    await two.take()
    await harness.kill(one)
    await two.claim("a")
    with fail_after(PATIENCE_SECONDS):
        await two.wait_for_posts()

    assert len(await two.take()) == 1


@behaviour
async def a_claim_during_the_wait_is_not_missed(harness: Harness) -> None:
    """A wait that is under way ends when this owner claims a run with open requests."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    await two.take()
    await harness.kill(one)
    with fail_after(PATIENCE_SECONDS):
        async with create_task_group() as tasks:
            tasks.start_soon(two.claim, "a")
            while not await two.take():
                await two.wait_for_posts()


@behaviour
async def a_wait_can_be_cancelled(harness: Harness) -> None:
    """A cancelled wait for posts leaves nothing behind: the next one works."""
    one = await harness.open("one")
    await create(one, creation("a"))
    await one.take()
    for ticks in range(5):
        async with create_task_group() as tasks:
            tasks.start_soon(one.wait_for_posts)
            for _ in range(ticks):
                await checkpoint()
            tasks.cancel_scope.cancel()
    await one.post("a", Request("signal", "{}", 1))
    with fail_after(PATIENCE_SECONDS):
        await one.wait_for_posts()

    assert len(await one.take()) == 1


@behaviour
async def anybody_reads_the_requests_of_a_run(harness: Harness) -> None:
    """The requests of a run are read by any handle, in the order they were posted, and reading answers none."""
    one, two = await harness.open("one"), await harness.open("two")
    reader = await harness.open(None)
    (a, b) = await create(one, creation("a"), creation("b"))
    requests = [Request("signal", f'{{"n":{n}}}', n) for n in range(5)]
    for request in requests:
        await reader.post("a", request)
    await reader.post("b", Request("cancel", "{}", 9))

    for handle in (one, two, reader):
        for _ in range(2):
            assert [posted.request for posted in await handle.requests("a", a.uid)] == requests
        assert [posted.request.kind for posted in await handle.requests("b", b.uid)] == ["cancel"]


@behaviour
async def requests_are_those_that_are_taken(harness: Harness) -> None:
    """What `requests` tells of a run and what its owner takes have the same ids, uids and texts."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    for number in range(3):
        await one.post("a", Request("signal", "{}", number))

    assert list(await one.requests("a", summary.uid)) == list(await one.take())


@behaviour
async def a_request_that_is_discarded_is_gone_for_everybody(harness: Harness) -> None:
    """It goes without a commit, whoever owns the run, and no other request goes with it: neither one of another run or
    life, nor one that is gone already."""
    one, other = await harness.open("one"), await harness.open("other")
    a, b = await create(one, creation("a"), creation("b"))
    for run_id in ("a", "a", "b"):
        await other.post(run_id, Request("cancel", "{}", 1))
    first, second, third = await one.take()

    await one.discard("a", a.uid, [first.id, third.id])
    await one.discard("a", "another", [second.id])
    await one.discard("nobody", "another", [second.id])
    await one.discard("a", a.uid, [first.id])
    await one.discard("a", a.uid, [])
    await other.discard("b", b.uid, [third.id])

    assert list(await one.requests("a", a.uid)) == list(await other.requests("a", a.uid)) == [second]
    assert list(await one.requests("b", b.uid)) == list(await other.requests("b", b.uid)) == []
    assert second in await one.take()
    assert first not in await one.take()
    assert await one.append([following(a, taken=[second.id])]) == {}
    assert list(await other.requests("a", a.uid)) == []


@behaviour
async def a_run_without_requests_has_none(harness: Harness) -> None:
    """A run that nobody has posted to, or whose requests are answered, has no requests."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    assert list(await one.requests("a", summary.uid)) == []
    await one.post("a", Request("signal", "{}", 1))
    (posted,) = await one.take()
    await one.append([following(summary, taken=[posted.id])])

    assert list(await one.requests("a", summary.uid)) == []


@behaviour
async def requests_of_no_run_are_an_error(harness: Harness) -> None:
    """Asking for the requests of an id that is not there raises RunNotFoundError, of another uid RunReplacedError."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    for run_id in ("b", "A"):
        with raising(RunNotFoundError):
            await one.requests(run_id, summary.uid)

    with raising(RunReplacedError):
        await one.requests("a", "another-uid")


@behaviour
async def requests_wait_for_an_owner(harness: Harness) -> None:
    """A run that nobody owns takes requests, and its next owner finds them."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a", None, status="paused"))
    await one.post("a", Request("signal", "{}", 1))
    assert list(await one.take()) == []
    assert len(await one.requests("a", summary.uid)) == 1
    await one.claim("a")

    assert [posted.request.kind for posted in await one.take()] == ["signal"]


@behaviour
async def released_runs_keep_their_requests(harness: Harness) -> None:
    """An owner that releases a run takes its requests no more, and whoever claims it does."""
    one, two = await harness.open("one"), await harness.open("two")
    await create(one, creation("a"))
    await one.post("a", Request("signal", "{}", 1))
    (posted,) = await one.take()
    await one.release(None)
    assert list(await one.take()) == []
    await two.claim("a")

    assert list(await two.take()) == [posted]


@behaviour
async def several_requests_are_answered_at_once(harness: Harness) -> None:
    """A commit may answer several requests of its run, in any order, and one that answers a stranger does no harm."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    for number in range(4):
        await one.post("a", Request("signal", "{}", number))
    taken = await one.take()
    answered = [taken[3].id, taken[0].id, taken[1].id, taken[3].id + 1_000]
    assert await one.append([following(summary, taken=answered)]) == {}

    assert list(await one.take()) == [taken[2]]


@behaviour
async def requests_of_any_size_and_script_are_kept(harness: Harness) -> None:
    """A request comes back as it was posted, whatever its text and however long it is."""
    one = await harness.open("one")
    await create(one, creation("a"))
    bodies = ["{}", '{"größe":"走る \U0001f680\u2028"}', '{"x":"' + "y" * (1 << 20) + '"}']
    for at, body in enumerate(bodies):
        await one.post("a", Request("signal", body, 2**60 + at))

    assert [posted.request for posted in await one.take()] == [
        Request("signal", body, 2**60 + at) for at, body in enumerate(bodies)
    ]


@behaviour
async def requests_of_many_posters_are_all_there(harness: Harness) -> None:
    """Posters that post at once lose none of their requests, and each gets an id of its own."""
    one = await harness.open("one")
    posters = [await harness.open(None) for _ in range(3)]
    (summary,) = await create(one, creation("a"))

    async def post(number: int) -> None:
        for time in range(5):
            await posters[number].post("a", Request("signal", f'"{number}-{time}"', 1))

    async with create_task_group() as tasks:
        for number in range(3):
            tasks.start_soon(post, number)
    found = await one.take()

    assert {posted.request.body for posted in found} == {f'"{n}-{time}"' for n in range(3) for time in range(5)}
    assert len({posted.id for posted in found}) == 15
    assert list(await one.requests("a", summary.uid)) == list(found)


@behaviour
async def requests_outlive_their_poster(harness: Harness) -> None:
    """A request is there after poster and owner are gone."""
    one = await harness.open("one")
    (summary,) = await create(one, creation("a"))
    reader = await harness.open(None)
    await reader.post("a", Request("cancel", '{"by":"me"}', 7))
    await harness.kill(reader)
    await harness.kill(one)
    two = await harness.open("two")

    assert [posted.request for posted in await two.requests("a", summary.uid)] == [Request("cancel", '{"by":"me"}', 7)]
