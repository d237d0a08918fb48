"""The extension of pydantic_core without its package, whichever of the two is imported first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from flujo.kernel import json_core

OURS = "from flujo.kernel import json_core"
THEIRS = "import pydantic_core"
MODEL = """
import pydantic, pydantic_core
class Model(pydantic.BaseModel):
    number: int
assert Model(number=1).model_dump_json() == '{"number":1}'
assert pydantic_core.to_json is json_core.to_json
assert pydantic_core.PydanticSerializationError is json_core.PydanticSerializationError
try:
    Model(number="x")
except pydantic_core.ValidationError as error:
    assert error.__class__ is pydantic.ValidationError
"""


@pytest.mark.parametrize(
    "first", [(OURS, THEIRS), (THEIRS, OURS), (OURS, "import pydantic"), ("import pydantic", OURS)]
)
def test_there_is_one_extension_whoever_imports_it_first(first: tuple[str, str]) -> None:
    """A class of one must be that of the other, or no `except` would fit."""
    script = "\n".join([*first, MODEL])

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_schemas_are_not_imported() -> None:
    """They are what takes long."""
    script = (
        f"{OURS}\nimport sys\nprint('pydantic_core.core_schema' in sys.modules, 'typing_extensions' in sys.modules)"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ended.stdout.split() == ["False", "False"]


def test_json_is_written_and_read_as_ever() -> None:
    """By the functions of pydantic_core itself."""
    assert json_core.from_json(json_core.to_json({"a": [1, None]})) == {"a": [1, None]}
    assert json_core.to_jsonable_python((1, 2)) == [1, 2]
    with pytest.raises(json_core.PydanticSerializationError):
        json_core.to_json("\ud800")


def test_an_extension_that_needs_its_package_is_taken_from_there() -> None:
    """A release may put the two together differently."""
    script = f"""
import sys
from importlib.machinery import ExtensionFileLoader
load = ExtensionFileLoader.exec_module
def refuse(self, module):
    if 'pydantic_core' not in sys.modules:
        raise ImportError('this needs the package')
    load(self, module)
ExtensionFileLoader.exec_module = refuse
{OURS}
{MODEL}
"""

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert (ended.returncode, ended.stderr) == (0, "")
