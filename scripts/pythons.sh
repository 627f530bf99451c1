#!/bin/sh
# Install the wheel with each Python and the newest dependencies, and with the oldest ones that
# pyproject.toml allows; extract a brain with each (scripts/smoke.py). PYTHONS="3.11 3.13" chooses:
# versions that uv finds or fetches, or paths of interpreters. OLDEST= leaves out the oldest ones.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)
uv=${UV:-.venv/bin/uv}
work=build/pythons
rm -rf "$work"
mkdir -p "$work"
BUILD_HERE=1 .venv/bin/python scripts/archives.py "$work/dist" >"$work/build.log" 2>&1
status=0

try() { # name, interpreter, resolution
    "$uv" venv --quiet --python "$2" "$work/$1" || {
        status=1
        return
    }
    "$uv" pip install --quiet --python "$work/$1" --resolution "$3" --requirements pyproject.toml
    "$uv" pip install --quiet --python "$work/$1" --no-deps "$work"/dist/*.whl
    "$work/$1/bin/python" -c 'import platform; print(end=f"Python {platform.python_version()}, ")'
    "$uv" pip list --quiet --python "$work/$1" | awk '
        $1 ~ /^(keras|numpy|openvino|pybids|scipy|tensorflow)$/ { printf "%s %s, ", $1, $2 }'
    (cd / && "$root/$work/$1/bin/python" "$root/scripts/smoke.py" 2>"$root/$work/$1/messages") || {
        cat "$work/$1/messages"
        status=1
    }
}

for python in ${PYTHONS-3.11 3.12 3.13}; do
    try "newest-$(echo "$python" | tr / -)" "$python" highest
done
for python in ${OLDEST-3.11}; do
    try "oldest-$(echo "$python" | tr / -)" "$python" lowest-direct
done
exit $status
