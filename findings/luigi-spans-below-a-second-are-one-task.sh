#!/usr/bin/env bash
# Luigi: two tasks whose TimeDeltaParameter differs by less than a second are one, the other is never run, and the build is a success.
#
# A task is parametrised with the pause that a measurement makes: 100 ms, 500 ms, and 1.5 s against 1.9 s. build() is given all four.
# Guess:     a timedelta is a parameter's value, so two of them are two tasks: the objects have each the value they were given, in
#            microseconds, and their outputs differ. Or what the parameter cannot carry is refused or cut where it is given, as
#            DateHourParameter does it with minutes.
# Behaviour: a task is known by its parameters as text, and this text ends at seconds: "0 w 0 d 0 h 0 m 0 s" for both of the
#            first two. They are equal as objects, too, while their values are not. The scheduler takes the last one for the
#            task of that name; build() returns True, with "this progress looks :)", and the output of the other one is not there.
# Seen with: luigi 3.8.1 and 3.5.0, Python 3.11.7:
#
#     3.5.0 equal: True, values equal: False
#     3.5.0 build: True, ran 0.5 s and 1.9 s of 0.1 s, 0.5 s, 1.5 s and 1.9 s
#     3.8.1 equal: True, values equal: False
#     3.8.1 build: True, ran 0.5 s and 1.9 s of 0.1 s, 0.5 s, 1.5 s and 1.9 s
#
# So: give spans below a second as a number of milliseconds. What names a piece of work has to tell apart all that its body sees:
# flujo compares the arguments of a step as they are written, with microseconds.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > measure.py <<'PYTHON'
import os
import sys
from datetime import timedelta

import luigi


class Measure(luigi.Task):
    pause = luigi.TimeDeltaParameter()

    def output(self):
        return luigi.LocalTarget(os.path.join(sys.argv[1], f"{self.pause.total_seconds()} s"))

    def run(self):
        with self.output().open("w") as file:
            file.write("measured")


tasks = [Measure(pause=timedelta(milliseconds=each)) for each in (100, 500, 1500, 1900)]
print(f"equal: {tasks[0] == tasks[1]}, values equal: {tasks[0].pause == tasks[1].pause}")
is_done = luigi.build(tasks, local_scheduler=True, log_level="ERROR")
print(f"build: {is_done}, ran {' and '.join(sorted(os.listdir(sys.argv[1])))} of 0.1 s, 0.5 s, 1.5 s and 1.9 s")
PYTHON

for version in 3.5.0 3.8.1; do
    python3 -m venv "$version"
    "$version/bin/pip" install --quiet --disable-pip-version-check "luigi==$version" "setuptools<81" > log 2>&1 || { cat log; exit 1; }
    "$version/bin/python" -W ignore measure.py "outputs-$version" > said 2> log || { cat log; exit 1; }
    while IFS= read -r line; do
        echo "$version $line"
        grep -qxF "#     $version $line" "$script" || { echo "changed: not what was seen before"; cat log; exit 1; }
    done < said
    [ "$(wc -l < said)" = 2 ]
done
