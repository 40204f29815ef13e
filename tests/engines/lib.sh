# What the scripts of the engines share. Sourced by them; $dir is their scratch directory, $RUNTIME the runtime.
set -u
here=$(cd "$(dirname "$0")" && pwd)
RUNTIME=${RUNTIME:-$here/../../vsrun}
RUNTIME=$(command -v "$RUNTIME") || { echo "FAIL no runtime: build ./vsrun, or set RUNTIME" >&2; exit 1; }
RUNTIME=$(realpath -s "$RUNTIME")
# A slow machine, as an emulated one, is given PATIENCE times as long.
PATIENCE=${PATIENCE:-1}
begin=$(date +%s) passed=0 failed=0 skipped=0 engine=$(basename "$0" .sh) image=localhost/vsrun-test:latest

ok() { passed=$((passed + 1)); echo "ok $engine/$1${2:+ ($2 s)}"; }
bad() { failed=$((failed + 1)); printf 'FAIL %s/%s: %s\n' "$engine" "$1" "$2"; }
skip() { skipped=$((skipped + 1)); echo "skip $engine/$1: $2"; }
result() { echo "$engine took $(($(date +%s) - begin)) s: $passed passed, $failed failed, $skipped skipped" >&2; [ "$failed" = 0 ]; }
none() { skip all "$1"; result; exit; }

# lacks RUNTIME NAME REASON: what a peer is known not to do; that check is then skipped under it.
known=
lacks() { [ "$(basename "$RUNTIME")" != "$1" ] || known="$known
$2|$3"; }

# check NAME CODE REGEX COMMAND...: the command's exit code (one of those given) and what stands in its output (both streams). ! before the
# regex: it must not stand there.
check() {
	name=$1 code=$2 regex=$3
	shift 3
	[ -z "${ONLY:-}" ] || printf '%s\n' "$name" | grep -qE -- "$ONLY" || return 0
	reason=$(printf '%s\n' "$known" | sed -n "s/^$name|//p")
	[ -z "$reason" ] || { skip "$name" "$reason"; return; }
	at $((60 * PATIENCE)) "$name"
	# The output goes through a file: what a command leaves behind it may hold a pipe open.
	timeout -k 5 $((60 * PATIENCE)) "$@" >"$dir/out" 2>&1 </dev/null
	got=$?
	took=$(($(date +%s) - since))
	step 120 "what follows $name"
	out=$(tr -d '\000\r' <"$dir/out")
	[ $took -lt $((60 * PATIENCE)) ] || out="it took $took s: $* printed: $out
$(cat "$dir/stuck" 2>/dev/null)"
	case " $code " in
	*" $got "*) ;;
	*) bad "$name" "exit code $got, want $code: $out" && return ;;
	esac
	case $regex in
	'!'*) printf '%s\n' "$out" | grep -qE -- "${regex#!}" && { bad "$name" "${regex#!} is in: $out"; return; } ;;
	*) printf '%s\n' "$out" | grep -qE -- "$regex" || { bad "$name" "no $regex in: $out"; return; } ;;
	esac
	ok "$name" "$took"
}

# at SECONDS NAME: what is done from here on is called NAME, and takes no longer than that (times PATIENCE, but for a check). If it does, watch
# prints the processes that it waits for, and ends it: no test hangs in silence.
at() { since=$(date +%s) && echo "$((since + $1 * ${3:-1})) $2" >"$dir/now"; }
step() { at "$1" "$2" "$PATIENCE"; }
# processes PID: those that descend from it, or know this script's directory or its runtime by name.
processes() {
	ps -ww -eo pid,ppid,stat,wchan:24,etimes,args --forest |
		awk -v p="$1" -v d="$dir" -v r="$RUNTIME" '$1 == p || $2 in of || index($0, d) || index($0, r) { of[$1]; print }' | cut -c1-180
}
watch() { # PID of the script
	told= self=$(sh -c 'echo $PPID')
	while sleep 1 && kill -0 "$1" 2>/dev/null; do
		read -r deadline what <"$dir/now" 2>/dev/null || continue
		left=$((deadline - $(date +%s)))
		if [ $left -le 2 ] && [ "$told" != "$deadline $what" ]; then
			told="$deadline $what"
			{ echo "$what has taken too long. What runs:"; processes "$1"; } >"$dir/stuck"
		fi
		[ $left -gt -15 ] && continue # timeout(1) ends a check
		echo "FAIL $engine/$what: it hangs. $(cat "$dir/stuck")"
		echo "$(($(date +%s) + 120)) the end" >"$dir/now"
		[ "$what" = "the end" ] && kill -KILL "$1"
		# shellcheck disable=SC2046 # a list of pids
		kill "$1" $(ps -o pid= --ppid "$1" | grep -vw "$self") 2>/dev/null
	done
}

# pty COMMAND: runs a shell line on a terminal of its own.
pty() { script -qec "$1" /dev/null; }

# await COMMAND: waits for it to succeed, twenty seconds (times PATIENCE) at most.
await() {
	until_=$(($(date +%s) + 20 * PATIENCE))
	while :; do
		"$@" >/dev/null 2>&1 && return
		[ "$(date +%s)" -le $until_ ] || return 1
		sleep 0.1
	done
}

# stop_pid PIDFILE: ends a daemon that this script has started.
stop_pid() {
	[ -s "$1" ] || return 0
	pid=$(cat "$1")
	kill "$pid" 2>/dev/null
	for _ in $(seq 100); do
		kill -0 "$pid" 2>/dev/null || return 0
		sleep 0.1
	done
	kill -KILL "$pid"
}

# scratch makes $dir, and the image in it; cleanup (a function of the script) runs before it goes.
scratch() {
	[ "$(id -u)" = 0 ] || none "needs root"
	dir=$(mktemp -d "${TMPDIR:-/tmp}/vsrun-engines.XXXXXX")
	chmod 755 "$dir"
	trap 'trap - EXIT; step 120 "the end"; cleanup; kill $watcher 2>/dev/null; clear_away' EXIT
	trap 'exit 130' INT TERM
	step 180 'the start'
	watch $$ 2>/dev/null &
	watcher=$!
	# shellcheck disable=SC2034 # for the scripts
	before=$(mount_count)
	sh "$here/image.sh" "$dir" || { bad image "cannot be made"; exit 1; }
	mkdir "$dir/vol"
	echo content >"$dir/vol/file"
	printf '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":95}]}' >"$dir/seccomp.json"
	cd "$dir" || exit 1 # what an engine leaves where it was called (conmon: a file "oom") goes with it
}

mount_count() { grep -c "$dir" /proc/self/mountinfo; }

clear_away() {
	cd /
	awk -v d="$dir/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r m; do umount -l "$m"; done
	if grep -q "$dir/" /proc/self/mountinfo; then
		echo "FAIL $engine: mounts are left below $dir: it is not removed" >&2
		return
	fi
	rm -rf --one-file-system "$dir"
	for top in "/sys/fs/cgroup/$cgroup" /sys/fs/cgroup/*/"$cgroup"; do
		[ -d "$top" ] && find "$top" -depth -type d -exec rmdir {} + 2>/dev/null
	done
	return 0
}

# v1 tells if memory has a hierarchy of its own. limit PATH-ON-V1 PATH-ON-V2 is the file that shows a limit.
v1() { [ -d /sys/fs/cgroup/memory ]; }
limit() { if v1; then echo "/sys/fs/cgroup/$1"; else echo "/sys/fs/cgroup/$2"; fi; }
has_controller() { [ -d "/sys/fs/cgroup/$1" ] || grep -qw "$1" /sys/fs/cgroup/cgroup.controllers 2>/dev/null; }

# needs_systemd ends the script on a machine that systemd does not run.
needs_systemd() { [ -d /run/systemd/system ] || none "needs a machine that systemd runs (make test-vm has one)"; }

# setup_podman DIR: writes the configuration that the runtime under test needs, and no more, below DIR; sets $rt_name.
setup_podman() {
	rt_name=$(basename "$RUNTIME")
	mkdir -p "$1/containers.conf.d"
	if [ "$rt_name" = vsrun ]; then # what contrib says, with this path
		sed "s,\"/usr/local/sbin/vsrun\",\"$RUNTIME\"," "$here/../../contrib/engines/containers.conf" >"$1/containers.conf.d/vsrun-test.conf"
	else
		printf '[engine]\nruntime = "%s"\n' "$rt_name" >"$1/containers.conf.d/vsrun-test.conf"
	fi
	[ -e /etc/containers/policy.json ] || printf '{"default":[{"type":"insecureAcceptAnything"}]}' >/etc/containers/policy.json
}

# census lists what containers may leave: cgroups, units, mounts, states. compare_census checks what came since $dir/before.
census() {
	find /sys/fs/cgroup -type d 2>/dev/null | grep -E 'libpod|docker-|cri-containerd|vsrun-engines|vsrun.*\.scope|/[0-9a-f]{64}' |
		grep -v -e '/vm.service' -e '\.slice$' -e "/$cgroup\$" -e '/conmon$' -e '/buildkit$' -e '/libpod_parent$' # what systemd and Podman keep for the next container
	systemctl list-units --all --no-legend --plain 'libpod*' 'docker-*.scope' 'cri-containerd*' 'ctr-*.scope' 'run-*.scope' 2>/dev/null | awk '{print "unit " $1}'
	awk '{print "mount " $5}' /proc/self/mountinfo | grep -E 'overlay|containers|docker|containerd' | grep -vE '/containers/storage/overlay$'
	for s in /run/vsrun /run/runc /run/crun /run/containerd/runc/* /run/docker/runtime-runc/moby; do
		[ -d "$s" ] && ls "$s" | sed "s,^,state $s/,"
	done
	ls /var/lib/cni/networks /run/netns 2>/dev/null | grep -v : | grep . | sed 's/^/net /'
	true
}
compare_census() { # as a check
	for _ in $(seq 30); do
		census | sort >"$dir/after"
		sort "$dir/before" | comm -13 - "$dir/after" >"$dir/new"
		[ -s "$dir/new" ] || { ok 'nothing is left'; return; }
		sleep 0.5
	done
	bad 'nothing is left' "$(cat "$dir/new")"
}

# many N ENGINE [OPTION]...: N containers of podman or docker, started at once and removed at once, without an error.
# Docker's are made, started and removed by its API where socat is: a hundred of its clients at once are most of the work else.
many() {
	n=$1 e=$2
	shift 2
	[ "$n" != 0 ] || return 0
	patience=$PATIENCE PATIENCE=$((PATIENCE * 10))
	start="$e run -d --name many{} --network none $* $image sleep 100000" good='^[0-9a-f]\{64\}$'
	rm="seq $n | xargs -P $n -I{} $e rm -f many{}" gone='^many\|^[0-9a-f]\{64\}$'
	# Podman gives a killed process five seconds to end, which a hundred of its clients at once on a slow machine would exceed.
	[ "$e" = podman ] && rm="podman rm -ft 0 \$(seq -f many%g -s ' ' $n)"
	# Docker gives a container's end two seconds (thirty in version 26), has the runtime's delete killed then, and forgets the container: whatever
	# the runtime is, its state and cgroup are left. A slow machine is asked for two at a time.
	removers=$n
	[ "$patience" -gt 1 ] && removers=2
	if [ "$e" = docker ] && command -v socat >/dev/null; then
		socket=$(docker context inspect -f '{{.Endpoints.docker.Host}}')
		[ -S "$dir/sock" ] && socket=unix://$dir/sock
		cat >"$dir/bin/api" <<T
#!/bin/sh
printf '%s /v1.41/containers/%s HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' "\$1" "\$2" \${#3} "\$3" | socat -t 3000 - "UNIX-CONNECT:${socket#unix://},shut-none" | tr -d '\r' | sed -n '1s/^[^ ]* //p; \$s/^{.*/&/p'
T
		chmod +x "$dir/bin/api"
		body='{"Image":"'$image'","Cmd":["sleep","100000"],"HostConfig":{"NetworkMode":"none"}}'
		check "$n made" 0 "^$n made\$" sh -c "echo \$(for n in \$(seq $n); do api POST create?name=many\$n '$body'; done | grep -c '^201') made"
		start='api POST many{}/start' rm="seq $n | xargs -P $removers -I{} api DELETE many{}?force=1" good='^204' gone='^204'
	fi
	# A hundred clients of Podman wait for its database longer than it lets them, on a slow machine.
	clients=$n
	[ "$e" = podman ] && [ "$patience" -gt 1 ] && [ "$n" -gt 20 ] && clients=20
	check "$n at once" 0 "^$n run, 0 errors\$" sh -c "seq $n | xargs -P $clients -I{} $start >'$dir/many.out' 2>&1
		grep -v '$good' '$dir/many.out' >'$dir/many.err'; head -n 5 '$dir/many.err'
		echo \$($e ps -q --filter name=many --filter status=running | wc -l) run, \$(wc -l <'$dir/many.err') errors"
	check "$n gone at once" 0 '^0 are left, 0 errors$' sh -c "$rm >'$dir/many.out' 2>&1
		grep -v '$gone' '$dir/many.out' >'$dir/many.err'; head -n 5 '$dir/many.err'
		echo \$($e ps -aq --filter name=many | wc -l) are left, \$(wc -l <'$dir/many.err') errors"
	PATIENCE=$patience
}
