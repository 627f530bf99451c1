#!/bin/sh
# Install Debian packages, as root or with sudo; without either, say what to install.
set -eu
run=
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        run=sudo
    else
        echo "Please install first: apt-get install $*" >&2
        exit 1
    fi
fi
exec 9<"$0" # apt allows one at a time
flock 9
$run apt-get update -qq
DEBIAN_FRONTEND=noninteractive $run apt-get install -qq -y --no-install-recommends "$@" >/dev/null
