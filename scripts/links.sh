#!/bin/sh
# Ask for every address of another site that the documentation names; needs a network. Those within
# the site are checked by `make docs`. LIST=1 only lists them.
set -eu
cd "$(dirname "$0")/.."
status=0
for address in $(grep -hoE 'https?://[A-Za-z0-9./_#?=&%~+-]+' ./*.md docs/*.md |
    sed 's/[.,]*$//' | grep -vE '\.example|//(127\.|localhost|[ab]/)' | sort -u); do
    if [ -n "${LIST:-}" ]; then
        echo "$address"
        continue
    fi
    code=$(curl -sSL --retry 2 --max-time 30 -o /dev/null -w '%{http_code}' "$address") || true
    case $code in
    000 | 404 | 410) # other answers are of sites that ask for a person
        echo "$code: $address" >&2
        status=1
        ;;
    esac
done
exit $status
