#!/bin/sh
# Runs the checks and the tests. Suites that need Debian packages run when these are there; as root the packages are
# installed first, otherwise the last lines name what was left out. With CI=true nothing may be missing.
set -eu

full=no
[ "${1:-}" = "--full" ] && full=yes
missing=""
for pair in bwrap:bubblewrap git:git; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    # Word splitting is meant: each word is a package.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    missing=""
fi
if [ -n "$missing" ] && [ "${CI:-}" = true ]; then
    echo "CI needs these Debian packages:$missing" >&2
    exit 1
fi

"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
"$(dirname "$PYTHON")/lint-imports" --no-cache

marks="not slow"
if [ "$full" = yes ]; then marks=""; export HYPOTHESIS_PROFILE=full; fi
case "$missing" in *bubblewrap*) marks="${marks:+$marks and }not bubblewrap" ;; esac
"$PYTHON" -m pytest -q -n "$(( $(nproc) * 2 ))" --dist loadgroup -m "$marks"

if [ -n "$missing" ]; then
    echo "Left out: the suites that need$missing. Install them with: apt-get install$missing"
fi
