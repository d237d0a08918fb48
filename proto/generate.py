"""Generate what follows from the contract; with --check only say whether what is committed is fresh.

make proto          # runs this with the pinned tools of proto/requirements.txt

flujo/v1/*_pb2.py, *_pb2_grpc.py     the code, beside the contract
flujo/v1/*.pyi                       its types, with the comments of the contract
docs/grpc-reference.md               the same for people
"""

from __future__ import annotations

import sys
import tempfile
from importlib.resources import files
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from reference import reference

ROOT = Path(__file__).parent
PACKAGE = Path("flujo/v1")
PAGE = ROOT.parent / "docs" / "grpc-reference.md"


def generated() -> dict[Path, str]:
    """Every generated file with its content."""
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder)
        descriptors = target / "descriptors"
        sources = sorted(str(path.relative_to(ROOT)) for path in (ROOT / PACKAGE).glob("*.proto"))
        arguments = [
            "protoc",
            f"-I{ROOT}",
            f"-I{files('grpc_tools') / '_proto'}",
            f"--python_out={target}",
            f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--mypy_grpc_out=quiet,only_async:{target}",
            f"--descriptor_set_out={descriptors}",
            "--include_source_info",
            *sources,
        ]
        if protoc.main(arguments) != 0:
            sys.exit("protoc failed")
        made = {
            ROOT / PACKAGE / path.name: path.read_text(encoding="utf-8").rstrip() + "\n"
            for path in (target / PACKAGE).iterdir()
        }
        page = reference(FileDescriptorSet.FromString(descriptors.read_bytes()))
    # A file of messages has no service, and protoc makes one for it all the same.
    return {path: text for path, text in made.items() if "_pb2_grpc" not in path.name or "class " in text} | {
        PAGE: page
    }


def main() -> None:
    made = generated()
    old = {path for pattern in ("*_pb2*.py", "*_pb2*.pyi") for path in (ROOT / PACKAGE).glob(pattern)}
    stale = [
        path
        for path in sorted(made.keys() | old)
        if path not in made or not path.is_file() or path.read_text(encoding="utf-8") != made[path]
    ]
    if "--check" in sys.argv:
        if stale:
            sys.exit(f"not up to date: {', '.join(path.name for path in stale)}; run: make proto")
        return
    for path in stale:
        if path in made:
            path.write_text(made[path], encoding="utf-8")
        else:
            path.unlink()


if __name__ == "__main__":
    main()
