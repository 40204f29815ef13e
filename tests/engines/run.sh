#!/bin/sh
# run.sh [podman|containerd|docker]...: real engines with RUNTIME (./vsrun), as root; all of them if none is named.
# An engine that is not installed is skipped, and says so. Every script runs a daemon and a storage of its own, and
# leaves nothing running.
here=$(cd "$(dirname "$0")" && pwd)
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for e in ${*:-podman containerd docker}; do
	sh "$here/$e.sh" >"$log" 2>&1
	code=$?
	grep -v '^ok' "$log"
	[ $code = 0 ] || grep -q '^FAIL' "$log" || { echo "FAIL $e: the script ended with exit code $code" | tee -a "$log"; }
	passed=$((passed + $(grep -c '^ok' "$log"))) failed=$((failed + $(grep -c '^FAIL' "$log"))) skipped=$((skipped + $(grep -c '^skip' "$log")))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
