#!/bin/sh
# All tests, by kind: what `make check` runs, then KINDS (folders of tests/) in several processes,
# but for those marked `alone`, which depend on the time that they get. $@ goes to pytest.
set -eu
cd "$(dirname "$0")/.."
kinds=${KINDS:-heads system browser container}
started=$(date +%s)
folders=
for kind in $kinds; do folders="$folders tests/$kind"; done
status=0
sh scripts/check.sh "$@" || status=1
sh scripts/pytest.sh $folders -m "not alone" "$@" || status=1
WORKERS=0 sh scripts/pytest.sh $folders -m alone "$@" || status=1
echo "make test: $(($(date +%s) - started)) s, $([ $status = 0 ] && echo passed || echo failed)"
exit $status
