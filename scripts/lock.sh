#!/bin/sh
# Lock what the images are made of, with hashes: requirements/cpu.txt and gpu.txt for amd64, and
# cpu-arm64.txt, which the release's workflow takes as a variant.
# Versions that are locked already stay where they may; UPGRADE=--upgrade takes the newest.
set -eu
cd "$(dirname "$0")/.."
uv=${UV:-uv}
new=$(mktemp -d)
trap 'rm -r "$new"' EXIT

lock() {  # lock OUT.txt ARGUMENTS of uv
    out=$1
    shift
    "$uv" pip compile pyproject.toml --quiet ${UPGRADE:-} --generate-hashes \
        --extra cluster --extra followup --excludes requirements/excluded.txt \
        --python-version 3.11 --python-platform ${machine:-x86_64-manylinux_2_28} --no-annotate \
        --custom-compile-command "make lock" --output-file "$out" "$@"
}

# TensorFlow's build for processors in place of the one with CUDA kernels: the same modules of the
# same version, and 0.9 GB less. No installer knows such a substitution.
echo tensorflow >"$new/excluded.txt"
sed -n 's/^ *"tensorflow\([><=~!].*\)",$/tensorflow-cpu\1/p' pyproject.toml >"$new/tensorflow.in"
grep -q . "$new/tensorflow.in"
lock requirements/cpu.txt "$new/tensorflow.in" --excludes "$new/excluded.txt"
lock requirements/gpu.txt --extra gpu --constraints requirements/cpu.txt
# There is no such build of TensorFlow for arm64; the usual one has no CUDA kernels there.
machine=aarch64-manylinux_2_35 lock requirements/cpu-arm64.txt
