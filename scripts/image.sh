#!/bin/sh
# Build the image, with labels that say what is in it. ENGINE (docker, podman), IMAGE (its name),
# VARIANT and MODELS choose; see docs/containers.md.
set -eu
cd "$(dirname "$0")/.."
engine=${ENGINE:-docker}
image=${IMAGE:-bids-brainmask}
revision=$(git rev-parse HEAD)
[ -z "$(git status --porcelain)" ] || revision=$revision-changed

build() {
    $engine build --build-arg VARIANT="${VARIANT-cpu}" --build-arg MODELS="${MODELS-auto}" \
        --build-arg IMAGE="$image" --tag "$image" "$@" .
}
build
# Which models "auto" came to is known only now; all that this repeats is in the build's cache.
models=$($engine run --rm --network none --entrypoint cat "$image" /opt/bids_brainmask/models.txt)
build --label io.github.bids-brainmask.models="$(echo "$models" | paste -s -d ,)" \
    --label org.opencontainers.image.revision="$revision"
