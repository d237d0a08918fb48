#!/bin/sh
# Install flujoctl in every way that docs/installing.md names, each into an empty environment and without a network, and
# let each run the workflow of `flujoctl init`. The wheels are fetched first: `make test-installs`.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${PYTHON:-python3}
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
wheels=$place/wheels
"$python" -m venv "$place/tools"
"$place/tools/bin/pip" install --quiet --disable-pip-version-check pipx uv
"$place/tools/bin/pip" wheel --quiet --disable-pip-version-check --wheel-dir "$wheels" "$root" hatchling editables pip setuptools

export PIP_NO_INDEX=1 PIP_FIND_LINKS="$wheels" PIP_DISABLE_PIP_VERSION_CHECK=1
export UV_NO_INDEX=1 UV_FIND_LINKS="$wheels" UV_PYTHON_DOWNLOADS=never UV_CACHE_DIR="$place/cache"
export PIPX_HOME="$place/pipx" PIPX_BIN_DIR="$place/pipx-bin" UV_TOOL_DIR="$place/uv" UV_TOOL_BIN_DIR="$place/uv-bin"

try() { # NAME PROGRAM
    mkdir -p "$place/$1-folder/.flujo"
    cd "$place/$1-folder"
    env -u PYTHONPATH "$2" init -q
    env -u PYTHONPATH "$2" run first.yaml --id r -q -o name > /dev/null
    test "$(env -u PYTHONPATH "$2" list -q --status completed)" = r
    echo "$1: $(env -u PYTHONPATH "$2" --version) runs the workflow of init"
    cd "$root"
}

"$python" -m venv "$place/folder"
"$place/folder/bin/pip" install --quiet "$root"
try folder "$place/folder/bin/flujoctl"

"$python" -m venv "$place/wheel"
"$place/wheel/bin/pip" install --quiet "$wheels"/flujoctl-*.whl
try wheel "$place/wheel/bin/flujoctl"

"$place/tools/bin/pipx" install --quiet --python "$python" "$root" > /dev/null
try pipx "$place/pipx-bin/flujoctl"

"$place/tools/bin/uv" tool install --quiet --python "$("$python" -c 'import sys; print(sys.executable)')" "$root"
for installed in "$place/folder" "$place/wheel" "$place/pipx"; do
    page=$(find "$installed" -name flujoctl.1 | head -n 1)
    test -n "$page" && MANPATH=${page%/man1/*} man flujoctl > /dev/null
done

try uv "$place/uv-bin/flujoctl"
