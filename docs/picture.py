"""Take the picture of the README: run a workflow on a terminal, wait until it is in the middle, and draw the screen."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from acceptance.screen import Screen  # noqa: E402

NIGHTLY = """\
name: nightly
steps:
  - {name: fetch, task: shell, depends_on: [], inputs: {command: "echo 200 pictures; sleep 1"}}
  - name: shrink
    task: batch
    depends_on: [fetch]
    inputs:
      items: "{{ range(200) | list }}"
      max_workers: 2
      task: {task: python_code, inputs: {code: "import time; time.sleep(0.05 if item < 117 else 60)"}}
  - name: upload
    task: shell
    depends_on: [fetch]
    inputs: {command: "echo 'connecting to store.example.org' && echo 'connection refused' >&2; exit 7"}
    retry: {max_attempts: 5, delay: 45s, jitter: 0}
  - name: index
    task: shell
    depends_on: [fetch]
    inputs: {command: "for n in 1 2 3; do echo part $n of 9 written; done; sleep 60"}
  - name: notify-old
    task: shell
    depends_on: [fetch]
    on_error: continue
    inputs: {command: "echo 'no such host: old.example.org' >&2; exit 6"}
  - {name: approve, task: wait_signal, depends_on: [fetch]}
  - {name: publish, task: shell, depends_on: [shrink, upload, index, approve], inputs: {command: "true"}}
"""
SHOWN = ("58 %", "about", "retrying", "part 3 of 9", "answer with", "connection refused")


def main(path: Path) -> None:
    """Write the picture to a file."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / ".flujo").mkdir()
        (folder / "nightly.yaml").write_text(NIGHTLY, encoding="utf-8")
        around = {name: text for name, text in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        environment = {**around, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        command = f"exec {sys.executable} -m flujoctl run nightly.yaml --id nightly-7"
        screen = Screen(command, folder=folder, environment=environment, columns=92, rows=24)
        try:
            screen.wait_for(lambda now: all(text in now.text for text in SHOWN))
            picture = screen.picture("flujoctl run nightly.yaml --id nightly-7")
        finally:
            screen.close()
    # Without the fonts that the SVG would load from elsewhere: a reader of the README asks nobody but its server.
    picture = re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)
    path.write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs/live-view.svg")
