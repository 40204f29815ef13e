#!/bin/sh
# Podman and Buildah with RUNTIME, in a storage of their own.
. "$(dirname "$0")/lib.sh"
command -v podman >/dev/null || none "podman is not installed"
command -v conmon >/dev/null || none "conmon is not installed"
cgroup=vsrun-engines-podman
cleanup() {
	podman rm -fa -t 0 >/dev/null 2>&1
	podman pod rm -fa -t 0 >/dev/null 2>&1
	podman rmi -fa >/dev/null 2>&1
}
scratch
export CONTAINERS_CONF="$dir/containers.conf" CONTAINERS_STORAGE_CONF="$dir/storage.conf" CONTAINERS_REGISTRIES_CONF="$dir/registries.conf"
# What hosts without systemd and without CAP_SYS_RESOURCE need besides stands in contrib/engines/README.md.
cat >"$dir/containers.conf" <<CONF
[containers]
default_ulimits = []
apparmor_profile = ""
$(has_controller pids || echo 'pids_limit = 0')
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "under-test"
runtime_supports_json = ["crun", "runc", "under-test"]
runtime_supports_nocgroup = ["under-test"]
runtime_supports_nocgroups = ["under-test"]
[engine.runtimes]
under-test = ["$RUNTIME"]
CONF
printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/root"\nrunroot = "%s/run"\n' "$dir" "$dir" >"$dir/storage.conf"
: >"$dir/registries.conf"
printf '{"default":[{"type":"insecureAcceptAnything"}]}' >"$dir/policy.json"
podman load -q --signature-policy "$dir/policy.json" -i "$dir/image.tar" >/dev/null || { bad load "podman load failed"; result; exit; }
run() { podman run --rm --network none --cgroup-parent "/$cgroup" "$@"; }
d() { podman run -d --network none --cgroup-parent "/$cgroup" "$@" >/dev/null; }
# timeout(1) starts programs: the functions are files for it.
mkdir "$dir/bin"
printf '#!/bin/sh\nexec podman run --rm --network none --cgroup-parent /%s "$@"\n' "$cgroup" >"$dir/bin/run"
printf '#!/bin/sh\nexec script -qec "$1" /dev/null\n' >"$dir/bin/pty"
chmod +x "$dir/bin/run" "$dir/bin/pty"
PATH=$dir/bin:$PATH
i=$image
census >"$dir/before"
lacks runc 'masked files are whole' 'it covers files with the host'"'"'s /dev/null'
lacks runc 'cgroups=disabled' 'it has no --cgroup-manager'
v1 && lacks runc 'idmapped volume' 'Debian 12 has runc 1.1, which knows no idmapped mounts'

check 'run' 0 '^hello$' run $i echo hello
check 'exit 3' 3 '' run $i sh -c 'exit 3'
check 'exit 125' 125 'unknown flag' run --nosuchflag $i true
check 'exit 126, no program' 126 'permission denied' run $i /etc/noexec
check 'exit 126, a directory' 126 'permission denied' run $i /etc
check 'exit 127, not in PATH' 127 'executable file ([^ ]+ )?not found in' run $i nosuch
check 'exit 127, no file' 127 '[Nn]o such file' run $i /nosuch
check 'terminal' 7 '/dev/pts/0$' pty "run -it $i sh -c 'tty; sleep 0.3; exit 7'"
check 'stdin' 0 '^hello$' sh -c "echo hello | run -i $i cat"
check 'user' 0 'uid=1000\(u\) gid=1000\(u\) groups=.*2000\(extra\)' run -u u $i id
check 'env' 0 '^value /root$' run -e KEY=value $i sh -c 'echo $KEY $HOME'
check 'hostname' 0 '^guest$' run --hostname guest $i hostname
check 'read-only' 0 '^Read-only.*|touch: /x: Read-only' run --read-only $i sh -c 'touch /x; touch /tmp/y'
check 'no-new-privileges' 0 'NoNewPrivs:.1' run --security-opt no-new-privileges $i grep NoNewPrivs /proc/self/status
check 'seccomp' 1 'Operation not supported' run --security-opt "seccomp=$dir/seccomp.json" $i mkdir /tmp/x
check 'seccomp default' 0 'Seccomp:.2' run $i grep Seccomp: /proc/self/status
check 'capabilities' 0 'CapEff:.0000000000000020' run --cap-drop all --cap-add kill $i grep CapEff /proc/self/status
check 'privileged' 0 'Seccomp:.0' run --privileged $i grep Seccomp: /proc/self/status
check 'device' 0 '^cr.* 1, +3 .*/dev/other' run --device /dev/null:/dev/other:r $i ls -l /dev/other
check 'sysctl' 0 '^12345$' run --sysctl kernel.shmmax=12345 $i cat /proc/sys/kernel/shmmax
check 'loopback' 0 'lo: <LOOPBACK,UP' run $i ip -o link
check 'masked files are whole' 0 '!changed' run $i sh -c 'chmod 667 /proc/keys && echo changed; chmod 666 /proc/keys; true'
check 'volume' 0 '^content$' run -v "$dir/vol:/v" $i cat /v/file
check 'volume read-only' 1 'Read-only file system' run -v "$dir/vol:/v:ro" $i touch /v/x
check 'volume overlay' 0 '^content$' run -v "$dir/vol:/v:O" $i sh -c 'touch /v/x; cat /v/file'
check 'volume of an image' 0 '^noexec$' run --mount "type=image,src=$i,dst=/im" $i ls /im/etc
check 'tmpfs' 0 '^tmpfs /t tmpfs rw.*mode=1700' run --tmpfs /t:size=1m,mode=1700 $i grep ' /t ' /proc/mounts
if [ -x /usr/libexec/podman/catatonit ] || command -v catatonit >/dev/null; then
	check 'init' 0 'podman-init|catatonit' run --init $i ps
else
	skip init 'catatonit is not installed'
fi
check 'pid=host' 0 '^ok$' run --pid=host $i sh -c 'test $$ -gt 10 && echo ok'
check 'ipc=host' 0 "$(readlink /proc/self/ns/ipc | tr '[]' '..')" run --ipc=host $i readlink /proc/self/ns/ipc
check 'uts=host' 0 "^$(hostname)\$" run --uts=host $i hostname
check 'network=host' 0 ' lo:' podman run --rm --network host $i ip -o link
check 'uidmap' 0 '100000 +65536' run --uidmap 0:100000:65536 $i cat /proc/self/uid_map
check 'idmapped volume' 0 ' 0 +0 .*file' run --uidmap 0:100000:65536 -v "$dir/vol:/v:idmap" $i ls -ln /v
check 'rootfs' 0 'noexec$' run --rootfs "$dir/rootfs" ls /etc/noexec -1
check 'preserve-fds' 0 '^content$' bash -c "exec 3<'$dir/vol/file'; run --preserve-fds 1 $i sh -c 'cat <&3'"
check 'cgroups=disabled' 0 '^ok$' podman run --rm --network none --cgroups=disabled $i echo ok
has_controller memory && check 'memory' 0 '^67108864$' run --memory 64m $i cat "$(limit memory/memory.limit_in_bytes memory.max)"
has_controller memory && check 'out of memory' 137 '' run --memory 16m --memory-swap 16m $i dd if=/dev/zero of=/dev/null bs=100M count=1
has_controller cpu && check 'cpus' 0 '^50000' run --cpus 0.5 $i cat "$(limit cpu/cpu.cfs_quota_us cpu.max)"
has_controller pids && check 'pids-limit' 0 '^17$' run --pids-limit 17 $i cat "$(limit pids/pids.max pids.max)"

# a container's life
check 'detached' 0 '' podman run -d --name c1 --network none --cgroup-parent "/$cgroup" $i sh -c 'trap "echo got TERM; exit 5" TERM; echo started; while :; do sleep 0.1; done'
await sh -c 'podman logs c1 2>&1 | grep -q started'
check 'logs' 0 '^started$' podman logs c1
check 'exec' 0 '^hello$' podman exec c1 echo hello
check 'exec exit 9' 9 '' podman exec c1 sh -c 'exit 9'
check 'exec exit 126' 126 'permission denied' podman exec c1 /etc/noexec
check 'exec exit 126, a directory' 126 'permission denied' podman exec c1 /etc
check 'exec exit 127' 127 'not found' podman exec c1 nosuch
check 'exec user, env, workdir' 0 '^1000 value /tmp$' podman exec -u u -e KEY=value -w /tmp c1 sh -c 'echo $(id -u) $KEY $PWD'
check 'exec terminal' 4 '/dev/pts/0$' pty "podman exec -it c1 sh -c 'tty; sleep 0.3; exit 4'"
check 'exec detached' 0 '' podman exec -d c1 touch /tmp/made
check 'exec detached has run' 0 '' sh -c 'for i in 1 2 3 4 5 6 7 8 9; do podman exec c1 test -e /tmp/made && exit; sleep 0.2; done; exit 1'
check 'top' 0 '^1 .*sh -c' podman top c1 pid args
has_controller memory && check 'stats' 0 '^c1 [1-9]' podman stats --no-stream --format '{{.Name}} {{.PIDs}}' c1
check 'cp' 0 '^content$' sh -c "podman cp '$dir/vol/file' c1:/tmp/copy && podman exec c1 cat /tmp/copy"
check 'pause' 0 'c1' podman pause c1
check 'paused' 0 'Paused' podman ps -a --filter name=c1 --format '{{.Status}}'
check 'unpause' 0 'c1' podman unpause c1
if podman update --help >/dev/null 2>&1 && has_controller memory; then
	check 'update' 0 '^104857600$' sh -c "podman update --memory 100m c1 >/dev/null && podman exec c1 cat $(limit memory/memory.limit_in_bytes memory.max)"
else
	skip update "this podman has no update, or there is no memory controller"
fi
check 'kill' 0 'c1' podman kill -s HUP c1
check 'attach' 0 '^typed$' sh -c "podman run -d -i --name c5 --network none --cgroup-parent /$cgroup $i cat >/dev/null; echo typed | podman attach c5; podman rm -ft 0 c5 >/dev/null"
# Without conmon nobody hears of the container's end, but it can be removed, and is gone then.
check 'conmon is killed' 0 '^gone$' sh -c "podman run -d --name c6 --network none --cgroup-parent /$cgroup $i sleep 100000 >/dev/null; p=\$(podman inspect c6 -f '{{.State.Pid}}'); kill -KILL \$(podman inspect c6 -f '{{.State.ConmonPid}}'); podman rm -ft 0 c6 >/dev/null 2>&1; for n in \$(seq 50); do kill -0 \$p 2>/dev/null || { echo gone; break; }; sleep 0.2; done"
d --name peer --hostname guest --ipc shareable $i sleep 1000
check 'pid=container' 0 'sleep 1000' run --pid=container:peer $i ps
check 'ipc=container' 0 '^shared$' sh -c "podman exec peer sh -c 'echo shared >/dev/shm/f'; run --ipc=container:peer $i cat /dev/shm/f"
check 'uts=container' 0 '^guest$' run --uts=container:peer $i hostname
check 'network=container' 0 'LOOPBACK,UP' podman run --rm --network container:peer $i ip -o link
podman rm -ft 0 peer >/dev/null
podman start c1 >/dev/null 2>&1
check 'restart' 0 'c1' podman restart -t 5 c1
check 'stop' 0 'c1' podman stop -t 10 c1
check 'stopped' 0 '^exited 5$' podman inspect c1 -f '{{.State.Status}} {{.State.ExitCode}}'
check 'rm' 0 'c1' podman rm c1
check 'restart policy' 0 '^2 exited 1$' sh -c "podman run -d --name c2 --restart on-failure:2 --network none --cgroup-parent /$cgroup $i false >/dev/null; for i in 1 2 3 4 5 6 7 8 9; do r=\$(podman inspect c2 -f '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}'); [ \"\$r\" = '2 exited 1' ] && break; sleep 0.5; done; echo \$r; podman rm -f c2 >/dev/null"
check 'health' 0 '^unhealthy healthy $' sh -c "podman run -d --name c3 --network none --cgroup-parent /$cgroup --health-cmd 'test -e /tmp/ok' --health-interval disable --health-retries 1 $i sleep 1000 >/dev/null; podman healthcheck run c3 >/dev/null; podman inspect c3 -f '{{.State.Health.Status}}' | tr '\n' ' '; podman exec c3 touch /tmp/ok; podman healthcheck run c3; podman inspect c3 -f '{{.State.Health.Status}}' | tr '\n' ' '; podman rm -ft 0 c3 >/dev/null"
check 'init, then start' 3 '^made$' sh -c "podman create --name c4 --network none --cgroup-parent /$cgroup $i sh -c 'echo made; exit 3' >/dev/null; podman init c4 >/dev/null; podman start -a c4; c=\$?; podman rm c4 >/dev/null; exit \$c"
check 'pod' 0 'sleep 999' sh -c "podman pod create --name pod1 --cgroup-parent /$cgroup --infra-image $i --infra-command '/bin/sleep 1000' --share ipc,uts,pid --network none >/dev/null && podman run -d --pod pod1 $i sleep 999 >/dev/null && podman run --rm --pod pod1 $i ps"
check 'pod pause and unpause' 0 '' sh -c 'podman pod pause pod1 && podman pod unpause pod1'
check 'pod rm' 0 '' podman pod rm -ft 0 pod1

if command -v buildah >/dev/null || podman build --help >/dev/null 2>&1; then
	mkdir "$dir/build"
	printf 'FROM %s\nRUN echo built >/built && id -u\nUSER u\nRUN --mount=type=tmpfs,target=/m touch /m/x && id -un\nCMD cat /built\n' "$i" >"$dir/build/Containerfile"
	check 'build' 0 '^built$' sh -c "podman build -q --signature-policy '$dir/policy.json' --runtime '$RUNTIME' --isolation oci --network none -t built '$dir/build' && run built"
	printf 'FROM %s\nRUN exit 7\n' "$i" >"$dir/build/Containerfile"
	check 'build fails' 7 'exit status 7' podman build --signature-policy "$dir/policy.json" --runtime "$RUNTIME" --isolation oci --network none "$dir/build"
fi
many "${AT_ONCE:-0}" podman --cgroup-parent "/$cgroup"
step 120 'what is left'
podman rm -fa -t 0 >/dev/null 2>&1
[ "${AT_ONCE:-0}" = 0 ] || compare_census
result
