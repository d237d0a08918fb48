"""A workflow in Python. Each step is recorded when it has completed, so a run that is stopped goes on where it was.

flujoctl run steps.py:count_words --id words text="to be or not to be"
flujoctl inspect words
"""

from flujo.kernel import Context, RetryPolicy, step, workflow


@step(retry=RetryPolicy(max_attempts=3, delay=0.5))
async def split(text: str) -> list[str]:
    """Split a text into its words."""
    return text.split()


@step
async def length(word: str) -> int:
    """Count the letters of a word."""
    return len(word)


@workflow
async def count_words(ctx: Context, text: str) -> dict[str, int]:
    """Return the length of each word: one step for each, up to four of them at a time."""
    words = sorted(set(await ctx.step(split, text)))
    return dict(zip(words, await ctx.map(length, words, limit=4), strict=True))
