#!/bin/sh
# Docker with RUNTIME, with a daemon of its own.
. "$(dirname "$0")/lib.sh"
command -v dockerd >/dev/null || none "dockerd is not installed"
docker=/usr/bin/docker # the one that belongs to dockerd
[ -x $docker ] || docker=$(command -v docker) || none "the docker client is not installed"
cgroup=vsrun-engines-docker
cleanup() {
	# shellcheck disable=SC2046 # a list of ids
	[ -S "$dir/sock" ] && docker rm -f $(docker ps -aq) >/dev/null 2>&1
	stop_pid "$dir/pid"
}
scratch
cat >"$dir/daemon.json" <<CONF
{"data-root":"$dir/root","exec-root":"$dir/exec","pidfile":"$dir/pid","hosts":["unix://$dir/sock"],"bridge":"none","iptables":false,
"runtimes":{"under-test":{"path":"$RUNTIME"},"with-arguments":{"path":"$dir/recorder","runtimeArgs":["--debug"]}},"default-runtime":"under-test","exec-opts":["native.cgroupdriver=cgroupfs"],
"cgroup-parent":"/$cgroup"}
CONF
printf '#!/bin/sh\ncase " $* " in *" create "*) echo "$1" >>%s/arguments ;; esac\nexec %s "$@"\n' "$dir" "$RUNTIME" >"$dir/recorder"
chmod +x "$dir/recorder"
mkdir "$dir/bin"
printf '#!/bin/sh\nexec %s -H unix://%s/sock "$@"\n' "$docker" "$dir" >"$dir/bin/docker"
printf '#!/bin/sh\nexec docker run --rm --network none "$@"\n' >"$dir/bin/run"
printf '#!/bin/sh\nexec script -qec "$1" /dev/null\n' >"$dir/bin/pty"
chmod +x "$dir"/bin/*
# BuildKit inside dockerd calls what is named runc.
mkdir "$dir/named"
ln -s "$RUNTIME" "$dir/named/runc"
PATH=$dir/named:$PATH dockerd --config-file "$dir/daemon.json" >"$dir/log" 2>&1 &
PATH=$dir/bin:$PATH
for _ in 1 2 3; do await docker info && break; done
docker info >/dev/null 2>&1 || { bad daemon "$(tail -3 "$dir/log")"; result; exit; }
docker load -q -i "$dir/image.tar" >/dev/null || { bad load "docker load failed"; result; exit; }
i=$image
census >"$dir/before"
grep -q '^CapBnd:.000001ffffffffff' /proc/self/status || lacks runc 'privileged' 'it fails where a capability that Docker asks for is not there'

check 'the runtime is the default' 0 'Default Runtime: under-test' docker info
check 'run' 0 '^hello$' run $i echo hello
check 'a runtime with arguments' 0 '^hello$' run --runtime with-arguments $i echo hello
check 'they come first' 0 '^--debug$' sort -u "$dir/arguments"
check 'exit 3' 3 '' run $i sh -c 'exit 3'
check 'exit 126, no program' 126 'permission denied' run $i /etc/noexec
check 'exit 126, a directory' 126 'permission denied|is a directory' run $i /etc
check 'exit 127, not in PATH' 127 'executable file ([^ ]+ )?not found in' run $i nosuch
check 'exit 127, no file' 127 '[Nn]o such file' run $i /nosuch
check 'a directory over a file' 125 'Are you trying to mount a directory onto a file' run -v "$dir/vol:/etc/noexec" $i true
check 'terminal' 7 '/dev/pts/0$' pty "run -it $i sh -c 'tty; sleep 0.3; exit 7'"
check 'stdin' 0 '^hello$' sh -c "echo hello | run -i $i cat"
check 'user' 0 'uid=1000\(u\) gid=1000\(u\) groups=.*2000\(extra\)' run -u u $i id
check 'env, workdir' 0 '^value /new/dir$' run -e KEY=value -w /new/dir $i sh -c 'echo $KEY $PWD'
check 'read-only' 0 'Read-only' run --read-only --tmpfs /tmp $i sh -c 'touch /x; touch /tmp/y'
check 'no-new-privileges' 0 'NoNewPrivs:.1' run --security-opt no-new-privileges $i grep NoNewPrivs /proc/self/status
check 'capabilities' 0 'CapEff:.0000000000000020' run --cap-drop ALL --cap-add KILL $i grep CapEff /proc/self/status
check 'seccomp' 1 'Operation not supported' run --security-opt "seccomp=$dir/seccomp.json" $i mkdir /tmp/x
check 'device' 0 '^cr.* 1, +3 .*/dev/other' run --device /dev/null:/dev/other:r $i ls -l /dev/other
check 'sysctl' 0 '^12345$' run --sysctl kernel.shmmax=12345 $i cat /proc/sys/kernel/shmmax
check 'ulimit' 0 '^123$' run --ulimit nofile=123:234 $i sh -c 'ulimit -n'
check 'tmpfs' 0 '^tmpfs /t tmpfs rw.*size=1024k.*mode=1700' run --tmpfs /t:size=1m,mode=1700 $i grep ' /t ' /proc/mounts
check 'privileged' 0 'Seccomp:.0' run --privileged $i grep Seccomp: /proc/self/status
check 'volume' 0 '^content$' run -v "$dir/vol:/v:ro" $i cat /v/file
check 'volume read-only' 1 'Read-only' run -v "$dir/vol:/v:ro" $i touch /v/x
check 'host network' 0 ' lo:' docker run --rm --network host $i ip -o link
check 'pid=host' 0 '^ok$' run --pid host $i sh -c 'test $$ -gt 10 && echo ok'
has_controller memory && check 'memory' 0 '^67108864$' run -m 64m $i cat "$(limit memory/memory.limit_in_bytes memory.max)"
has_controller memory && check 'out of memory' 137 '' run -m 16m --memory-swap 16m $i dd if=/dev/zero of=/dev/null bs=100M count=1
has_controller cpu && check 'cpus' 0 '^50000' run --cpus 0.5 $i cat "$(limit cpu/cpu.cfs_quota_us cpu.max)"
has_controller pids && check 'pids-limit' 0 '^17$' run --pids-limit 17 $i cat "$(limit pids/pids.max pids.max)"

check 'detached' 0 '' docker run -d --name c1 --network none $i sh -c 'trap "echo got TERM; exit 5" TERM; echo started; while :; do sleep 0.1; done'
await sh -c 'docker logs c1 2>&1 | grep -q started'
check 'logs' 0 '^started$' docker logs c1
check 'inspect' 0 '^running under-test$' docker inspect c1 -f '{{.State.Status}} {{.HostConfig.Runtime}}'
check 'exec' 0 '^hello$' docker exec c1 echo hello
check 'exec exit 9' 9 '' docker exec c1 sh -c 'exit 9'
check 'exec exit 126' 126 'permission denied' docker exec c1 /etc/noexec
check 'exec exit 127 (Docker 20: 126)' '126 127' 'not found' docker exec c1 nosuch
check 'exec user, env, workdir' 0 '^1000 value /tmp$' docker exec -u u -e KEY=value -w /tmp c1 sh -c 'echo $(id -u) $KEY $PWD'
check 'exec terminal' 4 '/dev/pts/0$' pty "docker exec -it c1 sh -c 'tty; sleep 0.3; exit 4'"
check 'exec stdin' 0 '^hello$' sh -c 'echo hello | docker exec -i c1 cat'
check 'top' 0 'sh -c' docker top c1
check 'stats' 0 '^c1 ' docker stats --no-stream --format '{{.Name}} {{.PIDs}}' c1
check 'cp' 0 '^content$' sh -c "docker cp -q '$dir/vol/file' c1:/tmp/copy 2>/dev/null || docker cp '$dir/vol/file' c1:/tmp/copy; docker exec c1 cat /tmp/copy"
check 'pause' 0 'c1' docker pause c1
check 'paused' 0 'Paused' docker ps --filter name=c1 --format '{{.Status}}'
check 'exec while paused' 1 'paused' docker exec c1 true
check 'unpause' 0 'c1' docker unpause c1
has_controller memory && check 'update' 0 '^104857600$' sh -c "docker update -m 100m --memory-swap 200m c1 >/dev/null; docker exec c1 cat $(limit memory/memory.limit_in_bytes memory.max)"
check 'restart' 0 'c1' docker restart -t 5 c1
check 'stop' 0 'c1' sh -c 'sleep 0.5; docker stop -t 10 c1'
check 'stopped' 0 '^exited 5$' docker inspect c1 -f '{{.State.Status}} {{.State.ExitCode}}'
check 'rm' 0 'c1' docker rm c1
check 'restart policy' 0 '^2 exited 1$' sh -c "docker run -d --name c2 --restart on-failure:2 --network none $i false >/dev/null; for i in 1 2 3 4 5 6 7 8 9; do r=\$(docker inspect c2 -f '{{.RestartCount}} {{.State.Status}} {{.State.ExitCode}}'); [ \"\$r\" = '2 exited 1' ] && break; sleep 0.5; done; echo \$r; docker rm -f c2 >/dev/null"
check 'health' 0 '^healthy$' sh -c "docker run -d --name c3 --network none --health-cmd 'test -e /etc/noexec' --health-interval 1s $i sleep 1000 >/dev/null; for i in 1 2 3 4 5 6 7 8 9; do r=\$(docker inspect c3 -f '{{.State.Health.Status}}'); [ \"\$r\" = healthy ] && break; sleep 0.5; done; echo \$r"
check 'pid=container' 0 'sleep 1000' run --pid container:c3 $i ps
check 'network=container' 0 'LOOPBACK,UP' docker run --rm --network container:c3 $i ip -o link
check 'attach' 0 '^typed$' sh -c "docker run -d -i --name c5 --network none $i sh -c 'read l; echo \$l' >/dev/null; (echo typed; sleep 2) | docker attach c5; docker rm -f c5 >/dev/null"
check 'killed' 0 '^137$' sh -c 'docker kill c3 >/dev/null; docker wait c3; docker rm c3 >/dev/null'
check 'start fails' 0 '^created 127$' sh -c "docker run --name c4 --network none $i nosuch >/dev/null 2>&1; docker inspect c4 -f '{{.State.Status}} {{.State.ExitCode}}'; docker rm c4 >/dev/null"

mkdir "$dir/build"
printf 'FROM %s\nRUN echo built >/built && id -u\nUSER u\nRUN id -un\nCMD cat /built\n' "$i" >"$dir/build/Dockerfile"
check 'build, classic' 0 '^built$' sh -c "DOCKER_BUILDKIT=0 docker build --network none -t built '$dir/build' && run built"
check 'build, BuildKit' 0 '^built$' sh -c "DOCKER_BUILDKIT=1 docker build --no-cache --network none -t built '$dir/build' && run built"
printf 'FROM %s\nRUN exit 7\n' "$i" >"$dir/build/Dockerfile"
check 'build fails' 1 'exit code: 7' env DOCKER_BUILDKIT=1 docker build --network none "$dir/build"
many "${AT_ONCE:-0}" docker
step 120 'what is left'
# shellcheck disable=SC2046 # a list of ids
docker rm -f $(docker ps -aq) >/dev/null 2>&1
[ "${AT_ONCE:-0}" = 0 ] || compare_census
result
