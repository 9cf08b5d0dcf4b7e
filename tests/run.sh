#!/bin/sh
# Runs the checks and the tests. Suites that need Debian packages run when these are there; as root the packages are
# installed first, otherwise the last lines name what was left out. With CI=true nothing may be missing.
set -eu

full=no
[ "${1:-}" = "--full" ] && full=yes
# Node.js and a browser are for the slow suites, which build, test and open the web starters.
needed="bwrap:bubblewrap git:git pg_ctlcluster:postgresql"
[ "$full" = yes ] && needed="$needed node:nodejs npm:npm chromium:chromium haproxy:haproxy promtool:prometheus ip:iproute2 faketime:faketime"
missing=""
for pair in $needed; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
done
if [ -n "$missing" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq
    # Word splitting is meant: each word is a package.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
    missing=""
fi
# Debian 12 has Node.js 18, which the web starters' own packages do not support any more.
old=""
if command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1; then
    found="$(node -p process.versions.node)"
    [ "${found%%.*}" -ge 20 ] || old="$found"
elif [ "$full" = no ]; then
    # Too much to install for the one quick test that fetches a package by npm.
    old=none
fi
needs="$missing"
[ "$full" = no ] || needs="$needs$old"
if [ -n "$needs" ] && [ "${CI:-}" = true ]; then
    [ -z "$missing" ] || echo "CI needs these Debian packages:$missing" >&2
    [ -z "$old" ] || echo "CI needs Node.js 20 or newer, not $old" >&2
    exit 1
fi

"$PYTHON" -m ruff check .
"$PYTHON" -m ruff format --check .
"$PYTHON" -m mypy
"$(dirname "$PYTHON")/lint-imports" --no-cache

marks="not slow"
if [ "$full" = yes ]; then
    marks=""
    export HYPOTHESIS_PROFILE=full
    E2E_JOURNAL="$(mktemp -d)"
    export E2E_JOURNAL
    trap 'rm -rf "$E2E_JOURNAL"' EXIT
fi
case "$missing" in *bubblewrap*) marks="${marks:+$marks and }not bubblewrap" ;; esac
case "$missing" in *nodejs* | *npm*) old="${old:-none}" ;; esac
if [ -n "$old" ]; then marks="${marks:+$marks and }not node"; fi
case "$missing" in *postgresql*) marks="${marks:+$marks and }not postgresql" ;; esac
case "$missing" in *haproxy* | *prometheus*) marks="${marks:+$marks and }not haproxy" ;; esac
# Hosts of its own are root's to make.
rootless=""
if [ "$(id -u)" != 0 ]; then rootless=yes; fi
case "$missing" in *iproute2*) rootless="${rootless:-no}" ;; esac
if [ -n "$rootless" ]; then marks="${marks:+$marks and }not namespaces"; fi
case "$missing" in *faketime*) marks="${marks:+$marks and }not faketime" ;; esac
case "$missing" in *chromium*) marks="${marks:+$marks and }not chromium" ;; esac
"$PYTHON" -m pytest -q -n "$(( $(nproc) * 2 ))" --dist loadgroup -m "$marks"
# What the end-to-end tests said to the local GitHub, and it to them, by GitHub's own descriptions.
if [ "$full" = yes ] && [ -z "$old" ]; then "$PYTHON" -m tests.judge "$E2E_JOURNAL"; fi

if [ -n "$missing" ]; then
    echo "Left out: the suites that need$missing. Install them with: apt-get install$missing"
fi
if [ -n "$old" ]; then
    echo "Left out: the suites that need Node.js 20 or newer; installed: $old. See https://nodejs.org/en/download"
fi
if [ "$full" = yes ] && [ "$rootless" = yes ]; then
    echo "Left out: the suite whose hosts are network namespaces, which only root can make. Run it with: sudo make test-full"
fi
