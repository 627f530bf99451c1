#!/bin/sh
# Lint, types, spelling, and the unit tests, examples of docstrings among them, that are not slow: a
# minute at most on two processors. $@ goes to pytest.
set -eu
cd "$(dirname "$0")/.."
started=$(date +%s)
status=0
.venv/bin/ruff check . || status=1
.venv/bin/ruff format --check . || status=1
.venv/bin/codespell || status=1
.venv/bin/mypy &
types=$!
files=$(grep -L '^pytestmark = pytest.mark.slow$' tests/unit/test_*.py) # the others take time to read
# shellcheck disable=SC2086 # paths are words
sh scripts/pytest.sh $files -m "not slow" "$@" || status=1
wait "$types" || status=1
echo "make check: $(($(date +%s) - started)) s, $([ $status = 0 ] && echo passed || echo failed)"
exit $status
