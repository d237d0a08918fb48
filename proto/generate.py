"""Generate the Python code of the contract beside it; with --check only say whether what is committed is fresh.

    make proto          # runs this with the pinned tools of proto/requirements.txt

`*_pb2.py` and `*_pb2_grpc.py` are the code, the `*.pyi` beside them its types, with the comments of the contract.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parent
PACKAGE = Path("flujo/v1")


def generate(target: Path) -> None:
    """Write all generated files below `target`."""
    sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).glob("*.proto"))
    arguments = [
        "protoc",
        f"-I{ROOT}",
        f"-I{files('grpc_tools') / '_proto'}",
        f"--python_out={target}",
        f"--grpc_python_out={target}",
        f"--mypy_out=quiet:{target}",
        f"--mypy_grpc_out=quiet,only_async:{target}",
        *sources,
    ]
    if protoc.main(arguments) != 0:
        sys.exit("protoc failed")
    for path in (target / PACKAGE).glob("*_pb2_grpc.*"):
        if b"class " not in path.read_bytes():  # a file of messages has no service
            path.unlink()
    for path in (target / PACKAGE).glob("*.pyi"):
        # Every run would write other blank lines at the end, depending on what was generated before.
        path.write_text(path.read_text(encoding="utf-8").rstrip() + "\n", encoding="utf-8")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        made = {path.name: path.read_bytes() for path in (Path(folder) / PACKAGE).iterdir()}
    here = ROOT / PACKAGE
    old = {path.name: path.read_bytes() for pattern in ("*_pb2*.py", "*_pb2*.pyi") for path in here.glob(pattern)}
    if made == old:
        return
    if "--check" in sys.argv:
        stale = sorted(name for name in made.keys() | old.keys() if made.get(name) != old.get(name))
        sys.exit(f"not up to date: {', '.join(stale)}; run: make proto")
    for name in old.keys() - made.keys():
        (here / name).unlink()
    for name, content in made.items():
        (here / name).write_bytes(content)


if __name__ == "__main__":
    main()
