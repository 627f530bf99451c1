#!/bin/sh
# Lint, types, spelling, unit tests, contract tests and the examples of docstrings: at most a
# minute on two processors. $@ goes to pytest.
set -eu
cd "$(dirname "$0")/.."
started=$(date +%s)
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/codespell
.venv/bin/mypy bids_brainmask &
types=$!
status=0
sh scripts/pytest.sh tests/unit tests/contract --doctest-modules bids_brainmask "$@" || status=1
wait "$types" || status=1
echo "make check: $(($(date +%s) - started)) s, $([ $status = 0 ] && echo passed || echo failed)"
exit $status
