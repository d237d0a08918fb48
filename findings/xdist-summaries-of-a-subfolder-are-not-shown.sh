#!/usr/bin/env bash
# pytest-xdist: pytest_terminal_summary in the conftest.py of a sub-folder is not called with -n, and nobody says so.
#
# Guess:     with -n a hook about the terminal is called once, in the process that owns the terminal, wherever it stands: the
#            summary that is shown without -n is shown with it.
# Behaviour: the controlling process collects nothing, so it loads only the conftest.py files that pytest loads at its start:
#            those of the folders named on the command line, and of folders right in them whose names begin with "test".
#            Workers load the others, and have no terminal. So the summary comes without -n, and with -n only for such a
#            folder.
# Seen with: pytest 9.2.0 with pytest-xdist 3.8.0, and 8.0.0 with 3.5.0, Python 3.11.7:
#
#     8.0.0 pytest .: shown
#     8.0.0 pytest -n 2 .: not shown, 2 passed
#     8.0.0 pytest -n 2 sub: shown
#     8.0.0 pytest -n 2 above: shown, as the sub-folder is called tests
#     9.2.0 pytest .: shown
#     9.2.0 pytest -n 2 .: not shown, 2 passed
#     9.2.0 pytest -n 2 sub: shown
#     9.2.0 pytest -n 2 above: shown, as the sub-folder is called tests
#
# So: hooks about the whole run go into the conftest.py beside the configuration, or into a plugin.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
mkdir sub
cat > sub/conftest.py <<'PYTHON'
def pytest_terminal_summary(terminalreporter):
    terminalreporter.write_line("the summary of sub")
PYTHON
echo 'def test_a(): pass' > sub/test_a.py
echo 'def test_b(): pass' > test_b.py
mkdir above
cp -r sub above/tests
mv above/tests/test_a.py above/tests/test_c.py

for versions in 8.0.0/3.5.0 9.2.0/3.8.0; do
    version=${versions%/*}
    python3 -m venv "venv-$version"
    "venv-$version/bin/pip" install --quiet --disable-pip-version-check "pytest==$version" "pytest-xdist==${versions#*/}"
    for arguments in "." "-n 2 ." "-n 2 sub" "-n 2 above"; do
        ignored=above
        [[ $arguments == *above ]] && ignored=sub
        # shellcheck disable=SC2086  # several arguments
        output=$("venv-$version/bin/pytest" -q -c /dev/null --rootdir . -p no:cacheprovider --ignore "$ignored" $arguments)
        how="not shown, $(grep -o '[0-9]* passed' <<< "$output")"
        [[ $output == *"the summary of sub"* ]] && how=shown
        [[ $arguments == *above ]] && how+=", as the sub-folder is called tests"
        said="$version pytest $arguments: $how"
        echo "$said"
        grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
    done
done
