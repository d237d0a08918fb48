#!/usr/bin/env bash
# PyYAML and other YAML libraries: a commit's short hash that PyYAML writes as text is a number, infinity or text to its reader.
#
# Four texts are written by PyYAML: the hashes of two commits, an article's number with an E in it, and the mode of a file. The
# document is read by PyYAML, by ruamel.yaml, and by the two libraries that most of Node's tools use.
# Guess:     what PyYAML writes for a text has quotes where a reader could take it for something else, as it has for "no", 0x1F and
#            12:30. At the least all readers of YAML 1.2 agree.
# Behaviour: PyYAML knows the numbers of YAML 1.1, which have a dot and a sign in the exponent. It writes 25921e05 without quotes and
#            reads it as text, so that no test in Python tells. Readers of YAML 1.2 take it for 2592100000. They are not at one
#            either: 695e0514 is infinity to ruamel.yaml and `yaml`, and text to js-yaml. Of the hashes of eight digits one in 72
#            is such a number, and what deploys the commit 25921e05 looks for another one.
# Seen with: PyYAML 6.0.4, ruamel.yaml 0.18.16, Python 3.11.7; js-yaml 4.3.2, yaml 2.9.1, Node 20.20.2:
#
#     written: {commit: 25921e05, other: 695e0514, article: 12E3, mode: 0o14}
#     PyYAML: text, text, text, text
#     ruamel.yaml: 2592100000, infinity, 12000, 12
#     js-yaml: 2592100000, text, 12000, 12
#     yaml: 2592100000, infinity, 12000, 12
#
# So: add the numbers of 1.2 to the dumper's implicit resolvers, which quotes such texts. flujo reads by YAML 1.2 and writes such texts
# in quotes: workflows/flujo/workflows/document_writer.py. It is known to PyYAML's maintainers as issues 173 and 860.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check PyYAML==6.0.4 ruamel.yaml==0.18.16 > log 2>&1 || { cat log; exit 1; }
npm init --yes >> log
npm install --silent --no-fund --no-audit js-yaml@4.3.2 yaml@2.9.1 >> log
cat > written.py <<'PYTHON'
import math

import yaml
from ruamel.yaml import YAML

TEXTS = {"commit": "25921e05", "other": "695e0514", "article": "12E3", "mode": "0o14"}


def told(values):
    return ", ".join("text" if isinstance(v, str) else "infinity" if math.isinf(v) else f"{v:.0f}" for v in values)


written = yaml.safe_dump(TEXTS, default_flow_style=True, sort_keys=False).strip()
with open("written.yaml", "w") as file:
    file.write(written)
print("written:", written)
print("PyYAML:", told(yaml.safe_load(written).values()))
print("ruamel.yaml:", told(YAML(typ="safe", pure=True).load(written).values()))
PYTHON
cat > written.cjs <<'JS'
const text = require("node:fs").readFileSync("written.yaml", "utf8");
const told = (value) => (typeof value === "string" ? "text" : Number.isFinite(value) ? String(value) : "infinity");

for (const [name, read] of [["js-yaml", require("js-yaml").load], ["yaml", require("yaml").parse]])
  console.log(`${name}: ${Object.values(read(text)).map(told).join(", ")}`);
JS
{ venv/bin/python written.py; node written.cjs; } > seen.log 2> log || { cat log; exit 1; }
cat seen.log
diff <(sed -n 's/^#     \([a-zA-Z]\)/\1/p' "$script") seen.log || { echo "changed: not what was seen before"; exit 1; }
