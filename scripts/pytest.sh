#!/bin/sh
# pytest in as many processes as there are processors; WORKERS=0 runs all in one. COVERAGE=1
# measures coverage, subprocesses included. That no test was selected is no failure.
set -eu
cd "$(dirname "$0")/.."
workers=${WORKERS:-$(nproc)}
[ "$workers" -le 8 ] || workers=8 # each may hold 2 GB
python=".venv/bin/python"
[ -z "${COVERAGE:-}" ] || python="$python -m coverage run"
status=0
$python -m pytest -n "$workers" --dist loadgroup "$@" || status=$?
[ $status = 5 ] || exit $status
