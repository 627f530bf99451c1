#!/bin/sh
# Lint, types, spelling, and the unit tests and examples of docstrings that are not slow: at most a
# minute on two processors. $@ goes to pytest.
set -eu
cd "$(dirname "$0")/.."
started=$(date +%s)
status=0
.venv/bin/ruff check . || status=1
.venv/bin/ruff format --check . || status=1
.venv/bin/codespell || status=1
.venv/bin/mypy &
types=$!
# Importing every module to look for examples would take seconds in each process.
examples=$(grep -rl '>>> ' --include='*.py' bids_brainmask | xargs grep -L 'doctest: +SKIP')
# shellcheck disable=SC2086 # paths are words
sh scripts/pytest.sh tests/unit --doctest-modules $examples -m "not slow" "$@" || status=1
wait "$types" || status=1
echo "make check: $(($(date +%s) - started)) s, $([ $status = 0 ] && echo passed || echo failed)"
exit $status
