#!/bin/sh
# Make the virtual environment .venv and install this checkout in it with the extras given as $1.
# Does nothing where that has been done and pyproject.toml has not changed since. uv takes a third
# of pip's time; pip, which knows indexes that uv does not, is asked where uv fails.
set -eu
cd "$(dirname "$0")/.."
extras=${1:-}
python=${PYTHON:-python3}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "bids_brainmask needs Python 3.11 or newer, $python is $("$python" -V 2>&1)." >&2
    echo "Name another one: PYTHON=/path/to/python3.12 make ..." >&2
    exit 1
}
# Debian and Ubuntu split the standard library: venv wants a package of its own.
"$python" -c 'import ensurepip' 2>/dev/null || sh scripts/debian.sh python3-venv

stamp=.venv/installed-${extras:-app}
if [ ! -e "$stamp" ] || [ pyproject.toml -nt "$stamp" ] || [ setup.py -nt "$stamp" ]; then
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    what=".${extras:+[$extras]}"
    { .venv/bin/python -m pip install --quiet uv &&
        .venv/bin/uv pip install --quiet --python .venv --editable "$what"; } ||
        .venv/bin/python -m pip install --quiet --no-compile --editable "$what"
    touch "$stamp"
fi
