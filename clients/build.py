"""Build the clients, check and test each by the means of its language, then hold all of them to one list of behaviours.

make clients                                   # every language: one whose tools are missing is an error
clients/build.py --present --over unix         # those whose tools are here, over one transport
clients/build.py go --only 3                   # one, with one behaviour
make bench-clients                             # how long each takes to follow many events, beside a bare stream
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

CLIENTS = Path(__file__).parent.resolve()
TOOLS = CLIENTS.parent / "build" / "client-tools"
STATICCHECK = "honnef.co/go/tools/cmd/staticcheck@v0.8.2"


class Language(NamedTuple):
    """The tools it needs, and the commands that build, check and test its client and build its driver."""

    tools: Sequence[str]
    commands: Sequence[str]


LANGUAGES = {
    "go": Language(
        ["go"],
        [
            f"GOBIN={TOOLS} go install {STATICCHECK}",
            'test -z "$(gofmt -l .)" || { gofmt -d .; false; }',
            "go vet ./...",
            f"{TOOLS}/staticcheck ./...",
            "go test ./...",
            "go build -o build/driver ./driver",
        ],
    ),
    "node": Language(
        ["node", "npm"],
        [
            "npm ci --silent",
            "npm run --silent build",
            "npm run --silent lint",
            "npm test --silent",
        ],
    ),
    "rust": Language(
        ["cargo"],
        [
            "cargo fmt --check",
            "cargo clippy --quiet --locked --all-targets -- -D warnings",
            "cargo test --quiet --locked",
            "cargo build --quiet --locked --examples",
        ],
    ),
    "java": Language(["java", "mvn"], ["mvn --quiet --batch-mode package"]),
}
PYTHON = ("python", "blocking")


def build(name: str) -> bool:
    """Return whether all commands of a language succeed."""
    began = time.monotonic()
    fresh = [] if name == "java" else [f"{sys.executable} {CLIENTS}/generate.py --check {name}"]
    for command in [*fresh, *LANGUAGES[name].commands]:
        print(f"{name}: {command}", flush=True)
        # cargo asks rustc to compile its standard input, which is taken for empty.
        if subprocess.run(["sh", "-c", command], cwd=CLIENTS / name, stdin=subprocess.DEVNULL).returncode != 0:
            print(f"{name}: failed: {command}", flush=True)
            return False
    print(f"{name}: built, checked and tested in {time.monotonic() - began:.0f} s", flush=True)
    return True


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("languages", nargs="*", help="which clients (default: all)")
    parser.add_argument("--present", action="store_true", help="leave out languages whose tools are not here")
    parser.add_argument("--over", action="append", default=[], help="transports (default: all)")
    parser.add_argument("--only", action="append", default=[], help="numbers of behaviours (default: all)")
    parser.add_argument("--measure", action="store_true", help="measure follows instead of trying behaviours")
    asked = parser.parse_args(arguments)
    names = asked.languages or [*PYTHON, *LANGUAGES]
    missing = {tool for name in names if name in LANGUAGES for tool in LANGUAGES[name].tools if not shutil.which(tool)}
    if missing and not asked.present:
        print(f"missing: {', '.join(sorted(missing))}; with --present their languages are left out")
        return 1
    names = [name for name in names if name not in LANGUAGES or not missing & set(LANGUAGES[name].tools)]
    built = [name for name in names if name not in LANGUAGES or build(name)]
    chosen = [f"--over={each}" for each in asked.over] + [f"--only={each}" for each in asked.only]
    chosen += ["--measure"] * asked.measure
    tried = subprocess.run(
        [sys.executable, "-m", "conformance", *built, *chosen], env={**os.environ, "PYTHONPATH": str(CLIENTS)}
    )
    return max(tried.returncode, int(built != names))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
