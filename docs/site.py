"""Gather the pages of the site in build/pages: docs/, and those of the root, with links that fit their new places."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "build" / "pages"
OF_THE_ROOT = {
    "README.md": "index.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "SCOPE.md": "SCOPE.md",
    "SECURITY.md": "SECURITY.md",
}


def main() -> None:
    """Write the pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    shutil.copytree(ROOT / "docs", PAGES, ignore=shutil.ignore_patterns("*.py", "*.txt", "__pycache__"))
    for page in PAGES.rglob("*.md"):
        _adapt(page, ROOT / "docs" / page.relative_to(PAGES))
    for name, new_name in OF_THE_ROOT.items():
        shutil.copy(ROOT / name, PAGES / new_name)
        _adapt(PAGES / new_name, ROOT / name)


def _adapt(page: Path, source: Path) -> None:
    """Let the relative links of a page lead to where their targets are now; what is not there is only named."""

    def moved(match: re.Match[str]) -> str:
        text, link = match.groups()
        target, hash, anchor = link.partition("#")
        if not target or "://" in target:
            return match[0]
        place = _place_of((source.parent / target).resolve(), page)
        return text if place is None else f"[{text}]({place}{hash}{anchor})"

    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(r"\[([^\]]*)\]\(([^)\s]+)\)", moved, text), encoding="utf-8")


def _place_of(target: Path, page: Path) -> str | None:
    """Return where a file of the project is from a page of the site; None for what is no part of it, as code."""
    inside = target.relative_to(ROOT)
    if str(inside) in OF_THE_ROOT:
        place = PAGES / OF_THE_ROOT[str(inside)]
    elif inside.parts[:1] == ("docs",) and target.is_file() and target.suffix != ".py":
        place = PAGES / target.relative_to(ROOT / "docs")
    else:
        return None
    return "../" * len(page.relative_to(PAGES).parts[:-1]) + str(place.relative_to(PAGES))


if __name__ == "__main__":
    main()
