"""Reading a growing sequence once for all who follow it: the events of a store, or of one run.

A follower is a place in the sequence and nothing else. What was read last stays here for a while, so that followers who
are about as far as each other share it; whoever is further behind goes on from the store, and those who are at the same
place there share a page. So a follower costs nothing while it does not ask.

What is removed from the store meanwhile must not reach a follower that began after that. So a follower gets what was
read after it began, or what lies behind the place at which it once had read everything there was (`caught_up_at`). That
there is no more, it is told by a read that began after it asked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import anyio

PAGE = 64
"""How many rows a follower gets at a time."""

READ_ROWS = 4 * PAGE
READ_BYTES = 256 * 1024
"""How many rows are read at a time at most: as many as come to so many bytes, going by those that were read before. A
read costs as much as a hundred small rows."""

KEPT_ROWS = 8192
KEPT_BYTES = 16 * 1024 * 1024
"""How many of the newest rows are kept, and of what size."""

KEPT_PAGES = 128
"""How many pages are kept for those who are further behind, of the same size together."""

Row = TypeVar("Row")


class Found(NamedTuple, Generic[Row]):
    """Up to PAGE rows, and whether there were no more when they were read, after the follower had asked."""

    rows: Sequence[Row]
    is_all: bool
    was_read: bool = False
    """Whether the store was read for this very answer."""


class _Page(NamedTuple, Generic[Row]):
    """Up to PAGE of the rows that one read has found."""

    number: int  # of the read
    rows: Sequence[Row]
    is_all: bool
    size: int


class SharedReading(Generic[Row]):
    """Reads a sequence for all its followers. `read` returns up to so many rows behind a place, in order; `place_of`
    tells the place of a row, and `size_of` its bytes."""

    def __init__(
        self,
        read: Callable[[int, int], Awaitable[Sequence[Row]]],
        place_of: Callable[[Row], int],
        size_of: Callable[[Row], int],
    ) -> None:
        self._read = read
        self._place_of = place_of
        self._size_of = size_of
        self._lock = anyio.Lock(fast_acquire=True)
        self._reads = 0
        self._newest: list[Row] = []  # what was read last, without gaps, up to `_end`
        self._bytes = 0
        self._begin = self._end = -1  # the newest rows lie behind the one place, up to the other
        self._ended = 0  # the number of the read that found nothing behind `_end`
        self._pages: OrderedDict[int, _Page[Row]] = OrderedDict()  # by the place that they lie behind
        self._page_bytes = 0
        self._mean_bytes = READ_BYTES  # of the rows that were read last

    @property
    def kept_bytes(self) -> int:
        """The size of the rows that are kept."""
        return self._bytes + self._page_bytes

    def ask(self) -> int:
        """Return a number for `behind`: what is read from now on is new to whoever begins, or asks, now."""
        return self._reads

    async def behind(self, place: int, begun: int, asked: int, caught_up_at: int | None) -> Found[Row]:
        """Return the next rows behind a place, for a follower that has begun and asked then."""
        if (known := self._known(place, begun, asked, caught_up_at)) is not None:
            return known
        async with self._lock:
            if (known := self._known(place, begun, asked, caught_up_at)) is not None:
                return known
            return await self._look(place)

    def _known(self, place: int, begun: int, asked: int, caught_up_at: int | None) -> Found[Row] | None:
        """Return what needs no read."""
        was_there = caught_up_at is not None and place >= caught_up_at
        if was_there and self._begin <= place < self._end:
            start = bisect_right(self._newest, place, key=self._place_of)
            rows = self._newest[start : start + PAGE]
            return Found(rows, start + len(rows) == len(self._newest) and self._ended > asked)
        page = self._pages.get(place)
        if page is not None and (page.number > (begun if page.rows else asked) or (was_there and page.rows)):
            return Found(page.rows, page.is_all and page.number > asked)
        return None

    async def _look(self, place: int) -> Found[Row]:
        self._reads += 1
        number = self._reads
        limit = max(PAGE, min(READ_ROWS, READ_BYTES // self._mean_bytes))
        rows = await self._read(place, limit)
        is_all = len(rows) < limit
        if is_all or place == self._end:
            self._keep_newest(place, rows)
            self._ended = number if is_all else 0
        else:
            rows = self._up_to_a_border(rows, place)
        first = self._keep_pages(place, number, rows, is_all)
        return Found(first.rows, first.is_all, was_read=True)

    def _keep_pages(self, place: int, number: int, rows: Sequence[Row], is_all: bool) -> _Page[Row]:
        """Keep what a read has found behind a place, in pages; return the first one."""
        pages: list[_Page[Row]] = []
        while rows or not pages:
            part = rows[:PAGE] if len(rows) <= PAGE else self._up_to_a_border(rows[:PAGE], place)
            rows = rows[len(part) :]
            page = _Page(number, part, is_all and not rows, sum(map(self._size_of, part)))
            pages.append(page)
            self._keep_page(place, page)
            place = self._place_of(part[-1]) if part else place
        if found := sum(len(page.rows) for page in pages):
            self._mean_bytes = max(1, sum(page.size for page in pages) // found)
        return pages[0]

    def _keep_page(self, place: int, page: _Page[Row]) -> None:
        if (replaced := self._pages.pop(place, None)) is not None:
            self._page_bytes -= replaced.size
        self._pages[place] = page
        self._page_bytes += page.size
        while len(self._pages) > KEPT_PAGES or self._page_bytes > KEPT_BYTES:
            self._page_bytes -= self._pages.popitem(last=False)[1].size

    def _up_to_a_border(self, rows: Sequence[Row], place: int) -> Sequence[Row]:
        """Return the rows up to a border that is the same for everybody: those who are at different places in the same
        page then meet there, and share the next one."""
        border = self._place_of(rows[-1]) // PAGE * PAGE
        return rows if border <= place else rows[: bisect_right(rows, border, key=self._place_of)] or rows

    def _keep_newest(self, place: int, rows: Sequence[Row]) -> None:
        """Add what was read at the end to the newest rows; begin anew if others lie in between."""
        if not self._begin <= place <= self._end:
            if self._begin <= (self._place_of(rows[-1]) if rows else place) <= self._end:
                return
            self._newest, self._bytes = [], 0
            self._begin = self._end = place
        rows = rows[bisect_right(rows, self._end, key=self._place_of) :]
        if not rows:
            return
        self._newest += rows
        self._bytes += sum(map(self._size_of, rows))
        self._end = self._place_of(rows[-1])
        self._drop_oldest()

    def _drop_oldest(self) -> None:
        """Drop rows until few enough are left; many at a time, since a list closes up behind them."""
        if len(self._newest) <= KEPT_ROWS and self._bytes <= KEPT_BYTES:
            return
        gone = 0
        while len(self._newest) - gone > KEPT_ROWS * 7 // 8 or (self._bytes > KEPT_BYTES and gone < len(self._newest)):
            self._bytes -= self._size_of(self._newest[gone])
            gone += 1
        self._begin = self._place_of(self._newest[gone - 1])
        del self._newest[:gone]


class SharedLook(Generic[Row]):
    """Looks at one thing for all who want to know how it stands."""

    def __init__(self, look: Callable[[], Awaitable[Row]]) -> None:
        self._look = look
        self._lock = anyio.Lock(fast_acquire=True)
        self._looks = 0
        self._seen: tuple[int, Row] | None = None  # by which look, and what

    def ask(self) -> int:
        """Return a number for `look`: how it stands from now on is new to whoever asks now."""
        return self._looks

    async def look(self, asked: int) -> Row:
        """Return how it stands, or stood at a moment after the caller asked then."""
        async with self._lock:
            if self._seen is None or self._seen[0] <= asked:
                self._looks += 1
                number = self._looks
                self._seen = (number, await self._look())
            return self._seen[1]
