#!/bin/sh
# Lint, types, spelling, and the unit tests, contract tests and examples of docstrings that are not
# slow: at most a minute on two processors. $@ goes to pytest.
set -eu
cd "$(dirname "$0")/.."
started=$(date +%s)
status=0
.venv/bin/ruff check . || status=1
.venv/bin/ruff format --check . || status=1
.venv/bin/codespell || status=1
.venv/bin/mypy &
types=$!
folders=$(ls -d tests/unit tests/contract 2>/dev/null || true)
# shellcheck disable=SC2086 # folders are words
sh scripts/pytest.sh $folders --doctest-modules bids_brainmask \
    -m "not slow" "$@" || status=1
wait "$types" || status=1
echo "make check: $(($(date +%s) - started)) s, $([ $status = 0 ] && echo passed || echo failed)"
exit $status
