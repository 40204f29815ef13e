#!/bin/sh
# run.sh [SCRIPT]...: real engines with RUNTIME (./vsrun), as root; the scripts beside this one, by default Podman, containerd
# and Docker, and unify on the stores of the first two. An engine that is not installed is skipped, and says so. These run a daemon and a storage of their own, and
# leave nothing running; podman-systemd, podman-rootless, docker-systemd, selinux and systemd use the machine's own.
# VERBOSE=1 tells what passed, too; ONLY=REGEX tries the tests with such names alone, for a look at one.
here=$(cd "$(dirname "$0")" && pwd)
passed=0 failed=0 skipped=0
log=$(mktemp)
trap 'rm -f "$log" "$log.code"' EXIT
for e in ${*:-podman containerd docker unify}; do
	{
		sh "$here/$e.sh" 2>&1
		echo $? >"$log.code"
	} | tee "$log" | if [ -n "${VERBOSE:-}" ]; then cat; else grep --line-buffered -v '^ok'; fi
	[ "$(cat "$log.code")" = 0 ] || grep -q '^FAIL' "$log" || { echo "FAIL $e: the script ended with exit code $(cat "$log.code")" | tee -a "$log"; }
	passed=$((passed + $(grep -c '^ok' "$log"))) failed=$((failed + $(grep -c '^FAIL' "$log"))) skipped=$((skipped + $(grep -c '^skip' "$log")))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
