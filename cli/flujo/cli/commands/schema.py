"""`flujoctl schema`: print the JSON Schema of a YAML workflow, for editors."""

from __future__ import annotations

import json

import click

from flujo.cli.session import Session, declare


@declare("schema", formats=("table", "json"))
@click.option("--answers", is_flag=True, help="the schema of what commands print with -o json instead")
def command(session: Session, answers: bool) -> int:
    """Print the JSON Schema (2020-12) of a YAML workflow, with the inputs of all tasks there are.

    Editors that know a YAML language server complete and check a file whose first line names it:
    # yaml-language-server: $schema=flujo.schema.json
    """
    if answers:
        from flujo.cli.answers import schema

        print(json.dumps(schema(), indent=2))
        return 0
    from flujo.workflows.json_schema import schema_of_definitions

    print(json.dumps(schema_of_definitions(), indent=2, ensure_ascii=False))
    return 0
