"""Write YAML whose plain scalars mean the same to readers of YAML 1.1 and 1.2.

PyYAML quotes a text that YAML 1.1 takes for something else. YAML 1.2, which `documents.py` and most readers outside of
Python follow, takes more plain scalars for numbers: a commit that is called 25921e05 was read as 2592100000.0
(findings/pyyaml-texts-are-numbers-to-other-readers.sh; tests/workflows/test_document_writer.py).
"""

from __future__ import annotations

import re
from typing import Any

_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|[-+]?(0o[0-7]+|0x[0-9a-fA-F]+)$")


def quoting(dumper: Any) -> Any:
    """Return a kind of PyYAML's `dumper` that quotes texts which are numbers in YAML 1.2, and so writes a file that
    keeps them texts."""
    kind: Any = type("QuotingDumper", (dumper,), {})
    kind.add_implicit_resolver("tag:yaml.org,2002:float", _NUMBER, list("-+.0123456789"))
    return kind
