#!/bin/sh
# containerd with RUNTIME, by ctr and by a small CRI client, with a daemon of its own. CGROUPS=systemd: with the systemd driver.
. "$(dirname "$0")/lib.sh"
command -v containerd >/dev/null || none "containerd is not installed"
command -v ctr >/dev/null || none "ctr is not installed"
cgroup=vsrun-engines-containerd
parent=/$cgroup systemd=false
# CGROUP is replaced by the name of one container's.
place="--cgroup $parent/CGROUP"
if [ "${CGROUPS:-}" = systemd ]; then
	needs_systemd
	parent=vsrunengines.slice systemd=true place='--runc-systemd-cgroup --cgroup vsrunengines.slice:ctr:CGROUP'
fi
cleanup() {
	if [ -S "$dir/sock" ]; then
		for ns in default k8s.io; do
			for c in $(ctr -a "$dir/sock" -n $ns task ls -q 2>/dev/null); do ctr -a "$dir/sock" -n $ns task rm -f "$c" >/dev/null 2>&1; done
			for c in $(ctr -a "$dir/sock" -n $ns container ls -q 2>/dev/null); do ctr -a "$dir/sock" -n $ns container rm "$c" >/dev/null 2>&1; done
		done
	fi
	stop_pid "$dir/pid"
	ip link del vsrunengines0 2>/dev/null
}
scratch
version=$(containerd --version | sed 's/.* v\{0,1\}\([0-9]*\)\.[0-9].*/\1/')
[ "$version" = 1 ] && { cri=io.containerd.grpc.v1.cri format=2; } || { cri=io.containerd.cri.v1.runtime format=3; }
cat >"$dir/config.toml" <<CONF
version = $format
root = "$dir/root"
state = "$dir/state"
[grpc]
  address = "$dir/sock"
[plugins."$cri"]
  $([ $format = 2 ] && echo "sandbox_image = \"$image\"")
  restrict_oom_score_adj = true
[plugins."$cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$dir/cni"
[plugins."$cri".containerd]
  default_runtime_name = "under-test"
[plugins."$cri".containerd.runtimes.under-test]
  runtime_type = "io.containerd.runc.v2"
  [plugins."$cri".containerd.runtimes.under-test.options]
    BinaryName = "$RUNTIME"
    SystemdCgroup = $systemd
CONF
[ $format = 3 ] && printf '[plugins."io.containerd.cri.v1.images".pinned_images]\n  sandbox = "%s"\n' "$image" >>"$dir/config.toml"
mkdir "$dir/cni" "$dir/logs" "$dir/bin"
cat >"$dir/cni/10-bridge.conflist" <<CONF
{"cniVersion":"0.4.0","name":"vsrun-engines","plugins":[{"type":"bridge","bridge":"vsrunengines0","isGateway":true,
"ipam":{"type":"host-local","dataDir":"$dir/ipam","ranges":[[{"subnet":"10.99.97.0/24"}]]}}]}
CONF
# With --uidmap ctr forgets --runc-binary: then the shim calls what is named runc.
mkdir "$dir/named"
ln -s "$RUNTIME" "$dir/named/runc"
PATH=$dir/named:$PATH containerd -c "$dir/config.toml" >"$dir/log" 2>&1 &
echo $! >"$dir/pid"
await ctr -a "$dir/sock" version || { bad daemon "$(tail -3 "$dir/log")"; result; exit; }
mkdir "$dir/vol/sub" && mount -t tmpfs -o mode=777 vsrun-test "$dir/vol/sub"
chmod 777 "$dir/vol"
ctr -a "$dir/sock" image import "$dir/image.tar" >/dev/null || { bad import "ctr image import failed"; result; exit; }
# With any runtime ctr gives up its end of the output where it has not opened that yet when the program ends, on a busy machine: what prints
# nothing is run once more.
cat >"$dir/bin/again" <<'T'
#!/bin/sh
case " $* " in *" -d "* | *" -t "*) exec "$@" ;; esac
out=$(mktemp)
for _ in 1 2; do
	"$@" >"$out" 2>&1
	code=$?
	[ ! -s "$out" ] || break
done
cat "$out"
rm "$out"
exit $code
T
wait="--connect-timeout $((30 * ${PATIENCE:-1}))s"
cat >"$dir/bin/c" <<T
#!/bin/sh
[ "\$1 \$2" = 'task exec' ] && exec again ctr $wait -a $dir/sock "\$@"
exec ctr $wait -a $dir/sock "\$@"
T
# A hundred clients at once on a busy machine: ctr gives up where the daemon has not answered its first call in 20 seconds.
cat >"$dir/bin/connected" <<'T'
#!/bin/sh
for _ in 1 2 3; do
	out=$("$@" 2>&1) && exit 0
	case $out in *'connection error'*) ;; *) break ;; esac
done
echo "$out"
exit 1
T
printf '#!/bin/sh\nexec again ctr %s -a %s/sock run --runc-binary %s %s "$@"\n' "$wait" "$dir" "$RUNTIME" "$(echo "$place" | sed 's,CGROUP,$$,')" >"$dir/bin/run"
printf '#!/bin/sh\nexec script -qec "$1" /dev/null\n' >"$dir/bin/pty"
chmod +x "$dir"/bin/*
PATH=$dir/bin:$PATH
i=$image
census >"$dir/before"

check 'run' 0 '^hello$' run --rm $i a echo hello
check 'exit 5' 5 '' run --rm $i a sh -c 'exit 5'
check 'not in PATH' 1 'executable file ([^ ]+ )?not found in' run --rm $i a nosuch
check 'no file' 1 '[Nn]o such file' run --rm $i a /nosuch
check 'no program' 1 'permission denied' run --rm $i a /etc/noexec
check 'terminal' 4 '/dev/pts/0$' pty "run --rm -t $i a sh -c 'tty; exit 4'"
check 'env, cwd' 0 '^value /tmp$' run --rm --env KEY=value --cwd /tmp $i a sh -c 'echo $KEY $PWD'
check 'read-only' 1 'Read-only' run --rm --read-only $i a touch /x
check 'privileged' 0 'CapEff' run --rm --privileged $i a grep CapEff /proc/self/status
check 'capabilities' 0 'CapEff:.00000000a82425fa' run --rm --cap-add CAP_SYS_ADMIN --cap-drop CAP_CHOWN $i a grep CapEff /proc/self/status
check 'seccomp' 1 'Operation not supported' run --rm --seccomp --seccomp-profile "$dir/seccomp.json" $i a mkdir /x
check 'mount' 0 '^content$' run --rm --mount "type=bind,src=$dir/vol,dst=/v,options=rbind:ro" $i a cat /v/file
check 'mount, read-only' 0 '^read-only writable$' run --rm --mount "type=bind,src=$dir/vol,dst=/v,options=rbind:ro" $i a sh -c 'echo $(for f in /v/x /v/sub/x; do (: >$f) 2>/dev/null && echo writable || echo read-only; done)'
check 'mount, recursively read-only' 0 '^read-only read-only$' run --rm --mount "type=bind,src=$dir/vol,dst=/v,options=rbind:rro" $i a sh -c 'echo $(for f in /v/x /v/sub/x; do (: >$f) 2>/dev/null && echo writable || echo read-only; done)'
check 'host network' 0 ' lo:' run --rm --net-host $i a ip -o link
check 'user namespace' 0 '100000 +65536' run --rm --uidmap 0:100000:65536 --gidmap 0:100000:65536 $i a cat /proc/self/uid_map
has_controller memory && check 'out of memory' 137 '' run --rm --memory-limit 16777216 $i a dd if=/dev/zero of=/dev/null bs=100M count=1
check 'detached' 0 '' run -d --pid-file "$dir/init.pid" $i l sh -c 'trap "exit 9" TERM; while :; do sleep 0.1; done'
check 'pid file' 0 '^[1-9][0-9]*$' cat "$dir/init.pid"
check 'running' 0 '^l .*RUNNING' c task ls
check 'exec' 0 '^hello$' c task exec --exec-id e l echo hello
check 'exec exit 6' 6 '' c task exec --exec-id e l sh -c 'exit 6'
check 'exec of nothing' 1 'executable file ([^ ]+ )?not found in' c task exec --exec-id e l nosuch
check 'exec terminal' 3 '/dev/pts/0$' pty "c task exec -t --exec-id e l sh -c 'tty; exit 3'"
check 'exec detached' 0 '' c task exec -d --exec-id d l sleep 1000
check 'ps' 0 "^$(cat "$dir/init.pid") " c task ps l
check 'metrics' 0 'pids.current' c task metrics l
check 'pause' 0 '' c task pause l
check 'paused' 0 '^l .*PAUSED' c task ls
check 'exec while paused' 1 'paused' c task exec --exec-id e l true
check 'resume' 0 '' c task resume l
check 'rm of a running one' 1 'must be stopped' c task rm l
check 'kill of an exec' 0 '' c task kill --exec-id d -s KILL l
check 'kill' 0 '' c task kill -s TERM l
await sh -c 'c task ls | grep -q "^l .*STOPPED"'
check 'stopped' 0 '^l .*STOPPED' c task ls
check 'kill of a dead one' 1 'already finished|not found' c task kill -s TERM l
check 'rm' 0 'exit code 9' c task rm l
check 'container rm' 0 '' c container rm l
check 'rm -f' 0 '' sh -c "run -d $i f sleep 1000 && c task rm -f f 2>/dev/null; c container rm f"
# The shim is killed: containerd has another one delete the container by force, whose process goes with it.
check 'the shim is killed' 0 '^gone$' sh -c "run -d --pid-file '$dir/killed.pid' $i s sleep 100000; p=\$(cat '$dir/killed.pid'); kill -KILL \$(ps -o ppid= -p \$p)
	for n in \$(seq 100); do kill -0 \$p 2>/dev/null || c task ls -q | grep -qx s || { echo gone; break; }; sleep 0.2; done; c container rm s"
# The long run has checkpoints, too.
if [ "${CGROUPS:-}" != systemd ]; then
	:
elif criu check >/dev/null 2>&1; then
	step 60 'a container for checkpoints'
	run -d $i k sh -c 'n=0; while :; do n=$((n+1)); echo $n >>/tmp/n; sleep 0.1; done' >"$dir/k" 2>&1
	await c task exec --exec-id w k test -s /tmp/n || bad 'a container for checkpoints' "$(cat "$dir/k")"
	check 'checkpoint' 0 '^core-1.img' sh -c "c task checkpoint --image-path '$dir/images' k; ls '$dir/images'"
	check 'it goes on' 0 '^goes on$' sh -c "a=\$(c task exec --exec-id a k tail -n 1 /tmp/n); sleep 1; b=\$(c task exec --exec-id b k tail -n 1 /tmp/n); [ \"\$b\" -gt \"\$a\" ] && echo goes on"
	check 'checkpoint to an image' 0 '' c container checkpoint --rw --task k localhost/k:1
	check 'restore' 0 '^goes on$' sh -c "a=\$(c task exec --exec-id f k tail -n 1 /tmp/n); c task rm -f k >/dev/null 2>&1; c container rm k
		c container restore --rw --live k2 localhost/k:1 >'$dir/restore' 2>&1 </dev/null &
		for n in \$(seq 40); do b=\$(c task exec --exec-id y\$n k2 tail -n 1 /tmp/n 2>/dev/null) && [ \"\$b\" -gt 0 ] && echo goes on && break; sleep 0.5; done
		c task rm -f k2 >/dev/null 2>&1; c container rm k2; cat '$dir/restore'"
else
	skip checkpoint "criu check: $(criu check 2>&1 | tail -n 1)"
fi
n=${AT_ONCE:-0} patience=$PATIENCE
if [ "$n" != 0 ]; then
	PATIENCE=$((PATIENCE * 5))
	check "$n at once" 0 "^$n\$" sh -c "seq $n | xargs -P $n -I{} connected run -d $i many{} sleep 100000; c task ls | grep -c '^many.*RUNNING'"
	check "$n gone at once" 0 '!.' sh -c "seq $n | xargs -P 20 -I{} connected c task rm -f many{} | grep -v 'exit code 137'; seq -f many%g $n | xargs -n 10 c container rm"
	PATIENCE=$patience
fi
check 'nothing is left' 0 '!.' sh -c 'c task ls -q; c container ls -q'

if ! command -v go >/dev/null && [ ! -x "${VSRUN_TEST_BIN:-}/cri" ]; then
	skip cri "needs Go"
elif [ ! -x /usr/lib/cni/bridge ] || [ ! -x /usr/lib/cni/host-local ]; then
	skip cri "needs the CNI plugins (containernetworking-plugins)"
elif ! { [ -x "${VSRUN_TEST_BIN:-}/cri" ] && cp "$VSRUN_TEST_BIN/cri" "$dir/cri"; } && ! (cd "$here/cri" && go build -o "$dir/cri" .); then
	bad cri "the client cannot be built"
else
	ctr -a "$dir/sock" -n k8s.io image import "$dir/image.tar" >/dev/null
	limit=$((240 * PATIENCE + 10 * n * PATIENCE))
	at "$limit" cri
	timeout "$limit" "$dir/cri" -volume "$dir/vol" -seccomp "$dir/seccomp.json" -at-once "$n" -patience "$PATIENCE" -address "$dir/sock" -handler under-test -image "$image" -logs "$dir/logs" -cgroup-parent "/${parent#/}" 2>&1 |
		tee "$dir/cri.out" | sed -u "s,^\(ok\|FAIL\|skip\) ,\1 $engine/cri/,"
	grep -q '^ok the end' "$dir/cri.out" || bad cri "$(tail -1 "$dir/cri.out") $(cat "$dir/stuck" 2>/dev/null)"
	skipped=$((skipped + $(grep -c '^skip' "$dir/cri.out")))
	passed=$((passed + $(grep -c '^ok' "$dir/cri.out"))) failed=$((failed + $(grep -c '^FAIL' "$dir/cri.out")))
fi
step 120 'what is left'
compare_census
result
