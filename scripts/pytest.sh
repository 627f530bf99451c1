#!/bin/sh
# pytest in as many processes as there are processors; each takes file after file, in the order of
# tests/conftest.py, so that module fixtures are made once. (Groups, `--dist loadgroup`, have no
# effect in pytest 9.2 with pytest-xdist 3.8.) WORKERS=0 runs all in one. COVERAGE=1 measures
# coverage, subprocesses included. That no test was selected is no failure.
set -eu
cd "$(dirname "$0")/.."
export PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 # that of Hypothesis costs each process a second
export OPENBLAS_NUM_THREADS=1 # there is a process for each processor, and threads would wait
export PYTHONDONTWRITEBYTECODE= # hundreds of processes are started: all is compiled once
workers=${WORKERS:-$(nproc)}
[ "$workers" -le 8 ] || workers=8 # each may hold 2 GB
python=".venv/bin/python"
[ -z "${COVERAGE:-}" ] || python="$python -m coverage run"
status=0
$python -m pytest -p xdist -n "$workers" --dist loadfile --no-loadscope-reorder "$@" || status=$?
[ $status = 5 ] || exit $status
