"""`flujoctl schema`: print the JSON Schema of a YAML workflow, for editors."""

from __future__ import annotations

import json

from flujo.cli.session import Session, declare


@declare("schema", formats=("table", "json"))
def command(session: Session) -> int:
    """Print the JSON Schema (2020-12) of a YAML workflow, with the inputs of all tasks there are.

    Editors that know a YAML language server complete and check a file whose first line names it:
    # yaml-language-server: $schema=flujo.schema.json
    """
    from flujo.workflows.json_schema import schema_of_definitions

    print(json.dumps(schema_of_definitions(), indent=2, ensure_ascii=False))
    return 0
