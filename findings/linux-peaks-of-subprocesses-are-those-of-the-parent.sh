#!/usr/bin/env bash
# Linux and subprocess: the peak memory of a small child is that of its parent, and an unrelated argument of Popen changes
# which.
#
# A program fills 300 MiB, frees them, and runs `true`; it reads ru_maxrss from os.wait4.
# Guess:     what `true` used itself, a few MiB: the documentation of the resource module calls ru_maxrss the maximum resident
#            set size, and the child has a memory of its own since its exec.
# Behaviour: the kernel folds the old memory's peak into the process at exec (getrusage's page: metrics are preserved).
#            subprocess makes children with vfork where it can, so that memory is the parent's own: the child's peak is the
#            highest the parent has ever had, also if it is long freed. Given a preexec_fn it has to fork, and the child
#            starts from what the parent has resident just then. VmHWM in /proc/PID/status belongs to the new memory and is
#            right, while the child lives.
# Seen with: subprocess of Python 3.11.7, psutil 7.1.3, Linux 6.18:
#
#     peak of the parent: above 300 MiB
#     child by vfork: ru_maxrss above 300 MiB, alive VmHWM below 50 MiB, psutil rss below 50 MiB
#     child by fork: ru_maxrss below 50 MiB, alive VmHWM below 50 MiB, psutil rss below 50 MiB
#
# So: a child's peak counts only where it is above the parent's own; below that nobody knows it.
# The exit code is 1 if any of this has changed.
set -euo pipefail
script=$(realpath "$0")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
cat > peaks.py <<'PYTHON'
import os
import re
import resource
import subprocess

import psutil

MIB = 2**20


def about(size):
    return "above 300 MiB" if size > 300 * MIB else "below 50 MiB" if size < 50 * MIB else f"{size // MIB} MiB"


def child(**arguments):
    made = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, **arguments)
    made.stdin.write(b"ready\n")
    made.stdin.flush()
    made.stdout.readline()  # it has been through its exec
    with open(f"/proc/{made.pid}/status") as status:
        high_water = int(re.search(r"VmHWM:\s+(\d+) kB", status.read())[1]) * 1024
    resident = psutil.Process(made.pid).memory_info().rss
    made.stdin.close()
    _, _, usage = os.wait4(made.pid, 0)
    made.returncode = 0
    return (f"ru_maxrss {about(usage.ru_maxrss * 1024)}, alive VmHWM {about(high_water)}, "
            f"psutil rss {about(resident)}")


filled = bytearray(b"x") * (310 * MIB)
del filled
print("peak of the parent:", about(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
print("child by vfork:", child())
print("child by fork:", child(preexec_fn=lambda: None))
PYTHON

python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check psutil==7.1.3
venv/bin/python peaks.py > output
while read -r said; do
    echo "$said"
    grep -qxF "#     $said" "$script" || { echo "changed: not what was seen before"; exit 1; }
done < output
