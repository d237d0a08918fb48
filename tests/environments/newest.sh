#!/usr/bin/env bash
# Run the tests on the newest Python and SQLite that Debian has: in a tree of its next release, as root.
#
#     tests/environments/newest.sh [what pytest is to be told]
#
# The tree is made once, in build/forky, from the mirror that apt uses on this machine; `make clean` removes it. What is
# installed with pip goes into build/forky/venv, and again whenever pyproject.toml has changed. The checkout is seen there
# as /checkout, in a mount namespace of this script's own, so that nothing stays mounted whatever happens.
set -euo pipefail
cd "$(dirname "$0")/../.."
release=forky
tree=$PWD/build/$release
if [ "$(id -u)" != 0 ]; then
    echo "make test-newest makes a Debian tree and needs root for that: try sudo make test-newest"
    exit 1
fi
if ! command -v debootstrap > /dev/null; then
    echo "make test-newest needs debootstrap: apt-get install debootstrap"
    exit 1
fi

if [ ! -e "$tree/complete" ]; then
    rm -rf "$tree"
    mkdir -p "$tree"
    mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | head -n 1)
    # An older debootstrap does not know the release by name, but every release since long is made as sid is.
    debootstrap --variant=minbase --include=python3-venv,ca-certificates,gcc,libc6-dev,git,mount,e2fsprogs,procps \
        "$release" "$tree" "$mirror" /usr/share/debootstrap/scripts/sid
    touch "$tree/complete"
fi

# The tree is left as root by everybody but this machine's network: names and trusted certificates are taken from here.
cp /etc/resolv.conf /etc/hosts "$tree/etc/"
cp /etc/ssl/certs/ca-certificates.crt "$tree/etc/ssl/certs/"
mkdir -p "$tree/checkout"
export TREE=$tree
exec unshare --mount --pid --fork --kill-child bash -euo pipefail -c '
    mount --bind "$TREE" "$TREE"  # so that the tree has a root among its mounts, as every host does
    mount -t proc proc "$TREE/proc"
    mount --rbind /dev "$TREE/dev"
    mount --rbind /sys "$TREE/sys"
    mount --bind . "$TREE/checkout"
    chroot "$TREE" bash -euo pipefail -c '\''
        export HOME=/root LANG=C.UTF-8; unset PIP_FIND_LINKS
        cd /checkout
        if [ ! -e /venv/ready ] || [ pyproject.toml -nt /venv/ready ]; then
            python3 -m venv --clear /venv
            /venv/bin/pip install --quiet --disable-pip-version-check -e ".[test]"
            touch /venv/ready
        fi
        /venv/bin/python -c "import platform, sqlite3; print(\"Python\", platform.python_version(), \"SQLite\", sqlite3.sqlite_version)"
        export PATH=/venv/bin:$PATH
        python tests/suite.py -p no:cacheprovider "$@"
        exit  # only now: a first process of its namespace gets the orphans of all others, and a test would count them
    '\'' tests "$@"
' newest "$@"
