"""Functions for examples/python-functions.yaml. They need nothing of flujo, and can be tested like any other."""

from __future__ import annotations

import sys
from typing import Any

DEGREES = {"Lima": 19, "Oslo": 4, "Pune": 31}


async def measure(city: str, unit: str = "C") -> dict[str, Any]:
    """Return how warm it is in a city; a coroutine is run to its end."""
    if city not in DEGREES:
        raise LookupError(f"nobody measures in {city}")
    celsius = DEGREES[city]
    print(f"asked for {city}")  # goes to the log of the run
    return {"city": city, "degrees": celsius if unit == "C" else celsius * 9 / 5 + 32}


class Report:
    """A function may be the method of a class."""

    @staticmethod
    def warmest(measured: list[dict[str, Any]]) -> dict[str, Any]:
        """Return the measurement with the most degrees."""
        return max(measured, key=lambda each: each["degrees"])


if __name__ == "__main__":
    city, degrees = sys.argv[1:]
    print(f"it is warmest in {city}: {degrees} degrees")
