#!/usr/bin/env bash
# pytest: `-p NAME` in a file of arguments (`pytest @FILE`) loads no plugin, and says nothing about it.
#
# Since 8.2 pytest reads its arguments from a file that is given as @FILE, one argument a line.
# Guess:     what works on the command line works in the file. The documentation says of options and tests alike that
#            they can be read from a file, and `-k`, `-m` or `-v` do work there.
# Behaviour: `-p` is accepted there and has no effect. The plugin is not loaded; `-p no:cacheprovider` switches nothing
#            off; even a plugin that does not exist is no error, while it is one on the command line. pytest looks for
#            `-p` in its arguments before argparse opens the file.
# Seen with: pytest 8.2.0 and 9.1.0, Python 3.11.7:
#
#     8.2.0 witness in the file: not loaded, 1 passed; on the command line: loaded
#     8.2.0 missing plugin in the file: 1 passed; on the command line: Error importing plugin
#     8.2.0 -k in the file: 1 deselected
#     9.1.0 (the same three lines)
#
# So: give `-p` on the command line or in PYTEST_PLUGINS, and keep only tests in the file.
# The exit code is 1 if any of this has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo 'def pytest_report_header(config): return "witness is loaded"' > witness.py
echo 'def test_a(): pass' > test_a.py
printf '%s\n' -p witness test_a.py > witness.txt
printf '%s\n' -p nosuch_plugin test_a.py > missing.txt
printf '%s\n' -k nothing_of_this_name test_a.py > chosen.txt

expect() {  # what, text that must be in it, text that must not
    if [[ $1 != *"$2"* || (-n ${3:-} && $1 == *"$3"*) ]]; then
        printf 'changed: expected %s and not %s in:\n%s\n' "$2" "${3:-nothing}" "$1"
        exit 1
    fi
}

for version in 8.2.0 9.1.0; do
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "pytest==$version"
    run() { PYTHONPATH=. "venv-$version/bin/pytest" -c /dev/null --rootdir . "$@" 2>&1 || true; }

    expect "$(run @witness.txt)" "1 passed" "witness is loaded"
    expect "$(run -p witness test_a.py)" "witness is loaded"
    echo "$version witness in the file: not loaded, 1 passed; on the command line: loaded"

    expect "$(run @missing.txt)" "1 passed" "nosuch_plugin"
    expect "$(run -p nosuch_plugin test_a.py)" 'Error importing plugin "nosuch_plugin"'
    echo "$version missing plugin in the file: 1 passed; on the command line: Error importing plugin"

    expect "$(run @chosen.txt)" "1 deselected"
    echo "$version -k in the file: 1 deselected"
done
