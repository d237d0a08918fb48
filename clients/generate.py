"""Generate the code that clients have from the contract; with --check only say whether what is committed is fresh.

make proto-clients                 # all languages whose tools are here
clients/generate.py --check go     # some

Java's code is made by its build (clients/java/pom.xml) and committed nowhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from google.rpc import error_details_pb2

CLIENTS = Path(__file__).parent.resolve()
ROOT = CLIENTS.parent
TOOLS = ROOT / "build" / "client-tools"

GO_TOOLS = (
    "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
)


class Language(NamedTuple):
    """The tool it needs, where its generated code is, and how that is made in a folder instead of there."""

    tool: str
    folder: str
    make: Callable[[Path], None]


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> None:
    """Run a command, and end with it if it fails."""
    if (code := subprocess.run(command, cwd=cwd, env={**os.environ, **variables}).returncode) != 0:
        sys.exit(f"{' '.join(map(str, command))} ended with {code}")


def buf(language: str, target: Path, *source: str | Path) -> None:
    """Let buf call the plugins that the language's template names, for our contract unless another source is given."""
    found = shutil.which("buf", path=os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]]))
    if found is None:
        sys.exit("there is no buf; run: make setup")
    run(found, "generate", *source, "--template", CLIENTS / language / "buf.gen.yaml", "-o", target)


def go(target: Path) -> None:
    """With the plugins of protobuf and gRPC for Go."""
    for tool in GO_TOOLS:
        run("go", "install", tool, GOBIN=str(TOOLS))
    buf("go", target)


def node(target: Path) -> None:
    """With the plugin of protobuf-es, also for the details of errors."""
    if not (CLIENTS / "node" / "node_modules").is_dir():
        run("npm", "ci", cwd=CLIENTS / "node")
    buf("node", target)
    protos = Path(error_details_pb2.__file__).parents[2]
    buf("node", target, protos, "--path", protos / "google" / "rpc" / "error_details.proto")


def rust(target: Path) -> None:
    """With tonic and prost, by a program beside the client that needs no protoc."""
    generator = CLIENTS / "rust" / "generate" / "Cargo.toml"
    output = target / "src" / "generated"
    command = ("cargo", "run", "--quiet", "--locked", "--manifest-path", generator, "--", ROOT / "proto", output)
    run(*command, CARGO_TARGET_DIR=str(CLIENTS / "rust" / "target"))


LANGUAGES = {
    "go": Language("go", "flujov1", go),
    "node": Language("npm", "src/gen", node),
    "rust": Language("cargo", "src/generated", rust),
}


def is_fresh(name: str, check: bool) -> bool:
    """Make the code of a language; return whether what was there is the same."""
    language = LANGUAGES[name]
    old = CLIENTS / name / language.folder
    with tempfile.TemporaryDirectory() as folder:
        language.make(Path(folder))
        new = Path(folder) / language.folder
        if contents(old) == contents(new):
            return True
        if not check:
            shutil.rmtree(old, ignore_errors=True)
            shutil.copytree(new, old)
    return False


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, by its path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def main(arguments: list[str]) -> None:
    check = "--check" in arguments
    names = [each for each in arguments if each != "--check"] or list(LANGUAGES)
    missing = [name for name in names if shutil.which(LANGUAGES[name].tool) is None]
    stale = [name for name in names if name not in missing and not is_fresh(name, check)]
    for name in missing:
        print(f"{name}: left out, there is no {LANGUAGES[name].tool}")
    if stale and check:
        sys.exit(f"not up to date: {', '.join(stale)}; run: make proto-clients")


if __name__ == "__main__":
    main(sys.argv[1:])
