#!/bin/sh
# Install what tests need beside Python, where it is missing: something that builds and runs
# containers, and with $1 = all a browser, git-annex and strace, too. Where they cannot be
# installed, the tests that need them say so.
set -eu
cd "$(dirname "$0")/.."
packages=
docker info >/dev/null 2>&1 || command -v buildah >/dev/null || packages="buildah podman runc"
if [ "${1:-}" = all ]; then
    command -v chromedriver >/dev/null || packages="$packages chromium chromium-driver"
    command -v git-annex >/dev/null || packages="$packages git git-annex"
    command -v strace >/dev/null || packages="$packages strace"
fi
# shellcheck disable=SC2086 # packages are words
[ -z "$packages" ] || sh scripts/debian.sh $packages || true
