#!/bin/sh
# All tests: what `make check` runs; the slow unit tests and KINDS (the other folders of tests/), in
# several processes; and, one by one, those that are marked `alone`. $@ goes to pytest.
set -eu
cd "$(dirname "$0")/.."
kinds=${KINDS:-contract heads system browser container}
started=$(date +%s)
folders=tests/unit
for kind in $kinds; do folders="$folders tests/$kind"; done
[ -z "${COVERAGE:-}" ] || rm -rf build/coverage
status=0
sh scripts/check.sh "$@" || status=1
# shellcheck disable=SC2086 # folders are words
sh scripts/pytest.sh $folders -m "(slow or not unit) and not alone" "$@" || status=1
# shellcheck disable=SC2086
WORKERS=0 sh scripts/pytest.sh $folders -m "alone and (slow or not unit)" "$@" ||
    status=1
if [ -n "${COVERAGE:-}" ]; then
    .venv/bin/coverage combine --quiet
    .venv/bin/coverage report
fi
echo "make test: $(($(date +%s) - started)) s, $([ $status = 0 ] && echo passed || echo failed)"
exit $status
