#!/bin/sh
# All tests: what `make check` runs; and the slow unit tests and KINDS, the other folders of tests/.
# $@ goes to pytest.
set -eu
cd "$(dirname "$0")/.."
kinds=${KINDS:-contract heads system browser container}
started=$(date +%s)
folders=$(grep -l 'mark\.slow' tests/unit/*.py) # to read the others would take seconds
for kind in $kinds; do folders="$folders tests/$kind"; done
[ -z "${COVERAGE:-}" ] || rm -rf build/coverage
status=0
sh scripts/check.sh "$@" || status=1
# One process more than processors: these tests also wait, for the disk, a batch system, browsers.
export WORKERS="${WORKERS:-$(($(nproc) + 1))}"
# shellcheck disable=SC2086 # folders are words
sh scripts/pytest.sh $folders -m "slow or not unit" "$@" || status=1
if [ -n "${COVERAGE:-}" ]; then
    .venv/bin/coverage combine --quiet # of all processes
    .venv/bin/coverage report --sort=cover
fi
echo "make test: $(($(date +%s) - started)) s, $([ $status = 0 ] && echo passed || echo failed)"
exit $status
