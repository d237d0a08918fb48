"""Orders and pages."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from flujo.kernel.backend import (
    Order,
    Page,
    RunFilter,
    StateBackend,
)
from flujo.kernel.errors import (
    InvalidNameError,
)

from .harness import Harness, behaviour, raising
from .values import create, creation, following, listed


@behaviour
async def runs_are_listed_newest_first(harness: Harness) -> None:
    """Runs are listed newest first by instant of creation, and where that is equal by id, in order of code points."""
    one = await harness.open("one")
    created = {"a": 2, "b": 5, "c": 2, "D": 2, "e": 1}
    await create(one, *(creation(run_id, created_at=at) for run_id, at in created.items()))

    assert await listed(one) == ["b", "c", "a", "D", "e"]


@behaviour
async def pages_have_no_gaps_and_no_repeats(harness: Harness) -> None:
    """Pages give every run that was there at the first one exactly once, while others arrive and go in between."""
    one = await harness.open("one")
    filters = (RunFilter(), RunFilter(workflow="report"), RunFilter(statuses=["running", "waiting"]))
    for round, filter in enumerate(filters):
        statuses = ["waiting" if number % 3 else "running" for number in range(20)]
        await create(
            one,
            *(creation(f"{round}-{n}", None, created_at=n // 3, status=status) for n, status in enumerate(statuses)),
        )
        before = await listed(one, filter)
        seen: list[str] = []
        page: Page | None = None
        while page is None or page.next is not None:
            page = await one.list(filter, limit=3, page=page and page.next)
            assert len(page.runs) <= 3
            seen += [summary.run_id for summary in page.runs]
            (_, brief) = await create(
                one,
                creation(f"{round}-young-{len(seen)}", None, created_at=99),
                creation(f"{round}-brief-{len(seen)}", None, created_at=0),
            )
            await one.delete(brief.run_id, brief.uid)
        assert seen == before


@behaviour
async def the_last_page_says_so(harness: Harness) -> None:
    """A page that ends with the last run has no next one, also when it is exactly full."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}") for number in range(6)))
    first = await one.list(RunFilter(), limit=3)
    second = await one.list(RunFilter(), limit=3, page=first.next)

    assert first.next is not None
    assert len(second.runs) == 3
    assert second.next is None
    assert (await one.list(RunFilter(), limit=6)).next is None


NO_TOKENS = (b"null", b"1", b"true", b"{}", b"[]", b'"abc"', b'["a", 1, 2]', b'["a", 1.5, "b"]', b"[" * 100_000)
"""JSON texts that no listing puts into a token."""


@behaviour
async def a_page_token_fits_its_filter_only(harness: Harness) -> None:
    """A page token of another filter, or one that was made up, raises InvalidNameError."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}") for number in range(3)))
    token = (await one.list(RunFilter(), limit=1)).next
    made_up = ["made up", "AAAA", "é", *(urlsafe_b64encode(each).decode() for each in NO_TOKENS)]
    for filter, page in ((RunFilter(workflow="report"), token), *((RunFilter(), each) for each in made_up)):
        with raising(InvalidNameError):
            await one.list(filter, limit=1, page=page)


async def read_pages(handle: StateBackend, filter: RunFilter, order: Order, limit: int) -> list[str]:
    """Return the ids of all runs, page by page."""
    seen: list[str] = []
    page: Page | None = None
    while page is None or page.next is not None:
        page = await handle.list(filter, order=order, limit=limit, page=page and page.next)
        assert 0 < len(page.runs) <= limit
        seen += [summary.run_id for summary in page.runs]
    return seen


@behaviour
async def runs_are_listed_by_creation_unless_told(harness: Harness) -> None:
    """Without an order runs are listed by creation."""
    one = await harness.open("one")
    await create(one, creation("old", created_at=1, updated_at=9), creation("new", created_at=2, updated_at=3))
    unsaid = await one.list(RunFilter(), limit=10)
    said = await one.list(RunFilter(), order=Order.CREATED, limit=10)

    assert [run.run_id for run in unsaid.runs] == [run.run_id for run in said.runs] == ["new", "old"]


@behaviour
async def runs_are_listed_by_their_last_move(harness: Harness) -> None:
    """By update the run that moved last comes first, and where instants are equal ids decide, as code points."""
    one = await harness.open("one")
    moved = {"a": 2, "b": 5, "c": 2, "D": 2, "e": 1}
    await create(one, *(creation(run_id, updated_at=at) for run_id, at in moved.items()))

    assert await listed(one, order=Order.UPDATED) == ["b", "c", "a", "D", "e"]


@behaviour
async def a_commit_moves_its_run_to_the_front(harness: Harness) -> None:
    """A commit puts its run first in a listing by update, and leaves its place in one by creation."""
    one = await harness.open("one")
    runs = await create(one, *(creation(f"run{n}", created_at=n, updated_at=n) for n in range(4)))
    for run in (runs[1], runs[0], runs[3]):
        await one.append([following(run)._replace(summary=following(run).summary._replace(updated_at=50 + run.seq))])
    last = following(runs[2])
    await one.append([last._replace(summary=last.summary._replace(updated_at=99))])

    assert await listed(one, order=Order.UPDATED) == ["run2", "run3", "run1", "run0"]
    assert await listed(one) == ["run3", "run2", "run1", "run0"]


@behaviour
async def a_listing_shows_what_loading_does(harness: Harness) -> None:
    """The summaries of a listing are those that loading gives, in both orders."""
    one = await harness.open("one")
    runs = await create(one, *(creation(f"run{n}", created_at=n, labels=f'{{"n":"{n}"}}') for n in range(5)))
    for order in Order:
        page = await one.list(RunFilter(), order=order, limit=10)
        assert sorted(page.runs) == sorted(runs)


@behaviour
async def pages_of_both_orders_have_no_gaps(harness: Harness) -> None:
    """Pages of any size give each run once, in the order of one large page, also where many instants are equal."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{n}", created_at=n % 4, updated_at=n * 7 % 5) for n in range(30)))
    for order in Order:
        whole = await listed(one, order=order)
        assert len(whole) == 30
        for limit in (1, 3, 7, 29, 30, 31):
            assert await read_pages(one, RunFilter(), order, limit) == whole


@behaviour
async def pages_of_every_filter_have_no_gaps(harness: Harness) -> None:
    """Pages by any filter, in both orders, give what one large page gives."""
    one = await harness.open("one")
    await create(
        one,
        *(
            creation(
                f"{'ab'[n % 2]}{n}",
                None,
                created_at=n // 6,
                updated_at=n % 8,
                status=("failed", "paused", "completed")[n % 3],
                workflow=("report", "nightly")[n % 4 // 2],
                labels=f'{{"team":"{"xyz"[n % 3]}"}}',
                finished_at=None if n % 3 == 1 else n % 8,
                failed_step="fetch" if n % 3 == 0 else None,
                parent_run_id="p" if n % 5 else None,
            )
            for n in range(48)
        ),
    )
    filters = (
        RunFilter(statuses=["failed"]),
        RunFilter(statuses=["failed", "paused"]),
        RunFilter(workflow="nightly"),
        RunFilter(id_prefix="a"),
        RunFilter(labels=[("team", "x")]),
        RunFilter(failed_step="fetch"),
        RunFilter(parent="p"),
        RunFilter(created_from=2, created_before=6),
        RunFilter(updated_from=2, updated_before=6),
        RunFilter(finished_from=2),
        RunFilter(settled_before=5),
        RunFilter(statuses=["failed", "completed"], workflow="report", labels=[("team", "x")]),
    )
    for filter in filters:
        for order in Order:
            whole = await listed(one, filter, order)
            assert len(whole) > 5
            assert await read_pages(one, filter, order, 4) == whole, (filter, order)


@behaviour
async def runs_that_rest_are_listed_once_by_update(harness: Harness) -> None:
    """While others move, arrive and go between the pages of a listing by update, each run that rests is in it once."""
    one = await harness.open("one")
    resting = await create(one, *(creation(f"rest{n}", updated_at=100 + n % 3) for n in range(12)))
    moving = list(await create(one, *(creation(f"move{n}", updated_at=100 + n % 3) for n in range(6))))
    seen: list[str] = []
    page: Page | None = None
    while page is None or page.next is not None:
        page = await one.list(RunFilter(), order=Order.UPDATED, limit=4, page=page and page.next)
        seen += [run.run_id for run in page.runs]
        commits = [following(run) for run in moving[len(seen) % 3 :: 3]]
        await one.append(commits)
        moved = {commit.run_id: commit.summary for commit in commits}
        moving = [moved.get(run.run_id, run) for run in moving]
        (_, brief) = await create(one, creation(f"new{len(seen)}", updated_at=101), creation("brief", None))
        await one.delete("brief", brief.uid)

    assert sorted(run_id for run_id in seen if run_id.startswith("rest")) == sorted(run.run_id for run in resting)


@behaviour
async def a_page_goes_on_after_a_run_that_is_gone(harness: Harness) -> None:
    """The next page begins below the last run of the one before, though that run was deleted meanwhile."""
    one = await harness.open("one")
    runs = await create(one, *(creation(f"run{n}", None, created_at=n, updated_at=n) for n in range(6)))
    for order, last in ((Order.CREATED, runs[3]), (Order.UPDATED, runs[2])):
        left = await listed(one, order=order)
        place = left.index(last.run_id)
        page = await one.list(RunFilter(), order=order, limit=place + 1)
        await one.delete(last.run_id, last.uid)
        rest = await one.list(RunFilter(), order=order, limit=10, page=page.next)
        assert [run.run_id for run in rest.runs] == left[place + 1 :]


@behaviour
async def a_page_token_fits_its_order_only(harness: Harness) -> None:
    """A page token of another order raises InvalidNameError, with the same filter all the same."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}") for number in range(3)))
    for order, other in ((Order.CREATED, Order.UPDATED), (Order.UPDATED, Order.CREATED)):
        token = (await one.list(RunFilter(), order=order, limit=1)).next
        with raising(InvalidNameError):
            await one.list(RunFilter(), order=other, limit=1, page=token)


@behaviour
async def a_page_token_fits_every_part_of_its_filter(harness: Harness) -> None:
    """A page token is refused when any part of the filter is another one."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}") for number in range(3)))
    token = (await one.list(RunFilter(), limit=1)).next
    others = (
        RunFilter(statuses=["running"]),
        RunFilter(id_prefix="run"),
        RunFilter(labels=[("a", "b")]),
        RunFilter(created_from=0),
        RunFilter(created_before=2**62),
        RunFilter(updated_from=0),
        RunFilter(updated_before=2**62),
        RunFilter(finished_from=0),
        RunFilter(finished_before=2**62),
        RunFilter(settled_before=2**62),
        RunFilter(failed_step="x"),
        RunFilter(parent="x"),
        RunFilter(owner="one"),
    )
    for filter in others:
        with raising(InvalidNameError):
            await one.list(filter, limit=1, page=token)


@behaviour
async def a_page_token_fits_every_handle(harness: Harness) -> None:
    """A page token of one handle goes on with another one, with lists for tuples and another limit."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{n}", created_at=n) for n in range(5)))
    first = await one.list(RunFilter(statuses=("running",)), limit=2)
    await one.close()
    reader = await harness.open(None)
    rest = await reader.list(RunFilter(statuses=["running"]), limit=10, page=first.next)

    assert [run.run_id for run in [*first.runs, *rest.runs]] == ["run4", "run3", "run2", "run1", "run0"]


@behaviour
async def a_listing_of_nothing_is_one_empty_page(harness: Harness) -> None:
    """Where no run matches there is one page, without runs and without a next one, in both orders."""
    one = await harness.open("one")
    await create(one, creation("a"))
    for order in Order:
        page = await one.list(RunFilter(workflow="none"), order=order, limit=5)
        assert (list(page.runs), page.next) == ([], None)


@behaviour
async def the_last_page_by_update_says_so(harness: Harness) -> None:
    """A page by update that ends with the last run has no next one, also when it is exactly full."""
    one = await harness.open("one")
    await create(one, *(creation(f"run{number}") for number in range(6)))
    first = await one.list(RunFilter(), order=Order.UPDATED, limit=3)
    second = await one.list(RunFilter(), order=Order.UPDATED, limit=3, page=first.next)

    assert first.next is not None
    assert len(second.runs) == 3
    assert second.next is None
