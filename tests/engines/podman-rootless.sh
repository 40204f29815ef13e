#!/bin/sh
# Podman without root, as the user "user" of a machine that systemd runs, with that user's own service manager.
. "$(dirname "$0")/lib.sh"
needs_systemd
command -v podman >/dev/null || none "podman is not installed"
id user >/dev/null 2>&1 || none "there is no user named user, with ranges in /etc/subuid (make test-vm has one)"
cgroup=none uid=$(id -u user)
cleanup() {
	podman rm -fa -t 0 >/dev/null 2>&1
	podman rmi -fa >/dev/null 2>&1
	rm -rf /home/user/.config/containers
	loginctl disable-linger user
}
scratch
loginctl enable-linger user
await test -S "/run/user/$uid/bus" || { bad session "no service manager of the user"; result; exit; }
setup_podman /home/user/.config/containers
chown -R user: /home/user/.config "$dir/vol"
mkdir "$dir/bin"
# As in a session of the user's, the limits are those of the service manager: what that starts (a timer's health check) could not
# set higher ones for a process of the container.
files=$(prlimit -p "$(systemctl show -P MainPID "user@$uid")" --nofile -o HARD --noheadings)
cat >"$dir/bin/as_user" <<T
#!/bin/sh
ulimit -n ${files:-524288}
cd /home/user && exec setpriv --reuid=user --regid=user --init-groups --reset-env env HOME=/home/user USER=user XDG_RUNTIME_DIR=/run/user/$uid DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$uid/bus PATH=/usr/local/bin:/usr/bin:/bin "\$@"
T
printf '#!/bin/sh\nexec %s/bin/as_user /usr/bin/podman "$@"\n' "$dir" >"$dir/bin/podman"
printf '#!/bin/sh\nexec podman run --rm --network none "$@"\n' >"$dir/bin/run"
printf '#!/bin/sh\nexec script -qec "$1" /dev/null\n' >"$dir/bin/pty"
chmod +x "$dir"/bin/*
PATH=$dir/bin:$PATH
podman load -q -i "$dir/image.tar" >/dev/null || { bad load "podman load failed"; result; exit; }
i=$image
census >"$dir/before"

check 'the runtime' 0 "^$rt_name systemd v2 true\$" podman info -f '{{.Host.OCIRuntime.Name}} {{.Host.CgroupManager}} {{.Host.CgroupsVersion}} {{.Host.Security.Rootless}}'
check 'run' 0 '^hello$' run $i echo hello
check 'exit 3' 3 '' run $i sh -c 'exit 3'
check 'exit 126' 126 'permission denied' run $i /etc/noexec
check 'exit 127' 127 'executable file ([^ ]+ )?not found in' run $i nosuch
check 'terminal' 7 '/dev/pts/0$' pty "run -it $i sh -c 'tty; sleep 0.3; exit 7'"
check 'stdin' 0 '^hello$' sh -c "echo hello | run -i $i cat"
check 'ids' 0 '^ +0 +1000 +1$' run $i cat /proc/self/uid_map
check 'user' 0 'uid=1000\(u\) gid=1000\(u\) groups=.*2000\(extra\)' run -u u $i id
check 'keep-id' 0 '^1000$' run --userns=keep-id $i id -u
check 'keep-id, a volume' 0 '^1000 1000$' run --userns=keep-id -v "$dir/vol:/v" $i sh -c 'touch /v/k; stat -c "%u %g" /v/k'
check 'keep-id, the host sees' 0 '^1000$' stat -c %u "$dir/vol/k"
check 'auto' 0 ' +0 +[1-9]' run --userns=auto:size=1000 $i cat /proc/self/uid_map
check 'nomap' 0 '^ok$' run --userns=nomap $i echo ok
check 'read-only' 0 'Read-only' run --read-only $i sh -c 'touch /x; touch /tmp/y'
check 'volume read-only' 1 'Read-only file system' run -v "$dir/vol:/v:ro" $i touch /v/x
check 'tmpfs' 0 '^tmpfs /t tmpfs rw' run --tmpfs /t:size=1m $i grep ' /t ' /proc/mounts
check 'seccomp' 1 'Operation not supported' run --security-opt "seccomp=$dir/seccomp.json" $i mkdir /tmp/x
check 'no-new-privileges' 0 'NoNewPrivs:.1' run --security-opt no-new-privileges $i grep NoNewPrivs /proc/self/status
check 'capabilities' 0 'CapEff:.0000000000000020' run --cap-drop all --cap-add kill $i grep CapEff /proc/self/status
check 'privileged' 0 'Seccomp:.0' run --privileged $i grep Seccomp: /proc/self/status
check 'device' 0 '/dev/other' run --device /dev/null:/dev/other:r $i ls -l /dev/other
check 'sysctl' 0 '^12345$' run --sysctl kernel.shmmax=12345 $i cat /proc/sys/kernel/shmmax
check 'network by pasta' 0 ' eth0|192\.0\.2' podman run --rm $i ip -o addr
check 'host network' 0 ' lo:' podman run --rm --network host $i ip -o link
check 'memory' 0 '^67108864$' run --memory 64m $i cat /sys/fs/cgroup/memory.max
check 'cpus' 0 '^50000' run --cpus 0.5 $i cat /sys/fs/cgroup/cpu.max
check 'ulimit' 0 '^123$' run --ulimit nofile=123:234 $i sh -c 'ulimit -n'
check 'init' 0 'podman-init|catatonit' run --init $i sh -c 'cat /proc/1/cmdline'
check 'ipc, uts, pid of the host' 0 '^same$' run --ipc host --uts host --pid host $i sh -c "test \$(readlink /proc/self/ns/ipc) = '$(readlink /proc/self/ns/ipc)' && test \$(readlink /proc/self/ns/uts) = '$(readlink /proc/self/ns/uts)' && test \$(readlink /proc/self/ns/pid) = '$(readlink /proc/self/ns/pid)' && echo same"
check 'pids' 0 '^17$' run --pids-limit 17 $i cat /sys/fs/cgroup/pids.max
check 'detached' 0 '' podman run -d --name c1 --network none --memory 64m $i sh -c 'trap "exit 5" TERM; echo started; while :; do sleep 0.1; done'
check 'its scope' 0 "user@$uid.service/.*libpod-.*\.scope" sh -c 'cat /proc/$(podman inspect c1 -f "{{.State.Pid}}")/cgroup'
check 'exec' 0 '^hello$' podman exec c1 echo hello
check 'exec exit 9' 9 '' podman exec c1 sh -c 'exit 9'
check 'exec terminal' 4 '/dev/pts/0$' pty "podman exec -it c1 sh -c 'tty; sleep 0.3; exit 4'"
check 'exec detached' 0 '^made$' sh -c 'podman exec -d c1 touch /tmp/made; for n in $(seq 20); do podman exec c1 test -e /tmp/made && echo made && break; done'
check 'pid=container' 0 'echo started' run --pid=container:c1 $i ps
check 'stats' 0 '^c1 [1-9]' podman stats --no-stream --format '{{.Name}} {{.PIDs}}' c1
check 'logs' 0 '^started$' podman logs c1
check 'top' 0 'sh -c' podman top c1 pid args
check 'pause' 0 'c1' podman pause c1
check 'unpause' 0 'c1' podman unpause c1
check 'update' 0 '^104857600$' sh -c "podman update --memory 100m c1 >/dev/null && podman exec c1 cat /sys/fs/cgroup/memory.max"
check 'cp' 0 '^content$' sh -c "podman cp '$dir/vol/file' c1:/tmp/copy && podman exec c1 cat /tmp/copy"
check 'stop' 0 'c1' podman stop -t 20 c1
check 'stopped' 0 '^exited 5$' podman inspect c1 -f '{{.State.Status}} {{.State.ExitCode}}'
check 'rm' 0 'c1' podman rm c1
check 'pod' 0 '^ok$' sh -c "podman pod create --name p1 --infra=false >/dev/null; podman run --rm --network none --pod p1 $i echo ok; podman pod rm -f p1 >/dev/null"
check 'pod with shared namespaces' 0 'sleep 999' sh -c "podman pod create --name p2 --infra-image $i --infra-command '/bin/sleep 1000' --share ipc,uts,pid --network none >/dev/null && podman run -d --pod p2 $i sleep 999 >/dev/null && podman run --rm --pod p2 $i ps; podman pod rm -ft 0 p2 >/dev/null"
check 'killed' 0 '^137$' sh -c "podman run -d --name k --network none $i sleep 1000 >/dev/null; podman kill k >/dev/null; podman wait k; podman rm k >/dev/null"
check 'healthy by a timer' 0 '^healthy$' sh -c "podman run -d --name h --network none --health-cmd 'test -e /etc/passwd' --health-interval 2s --health-timeout 200s $i sleep 1000 >/dev/null; for n in \$(seq 40); do r=\$(podman inspect h -f '{{.State.Health.Status}}'); [ \"\$r\" = healthy ] && break; sleep 0.5; done; echo \$r; [ \"\$r\" = healthy ] || podman inspect h -f '{{json .State.Health}}'; podman rm -ft 0 h >/dev/null"
mkdir "$dir/build"
printf 'FROM %s\nRUN echo built >/built && id -u\nUSER u\nRUN id -un\nCMD cat /built\n' "$i" >"$dir/build/Containerfile"
check 'build' 0 '^built$' sh -c "podman build -q --runtime '$RUNTIME' --isolation oci --network none -t built '$dir/build' && run built"
mkdir -p /home/user/.config/containers/systemd
printf '[Container]\nImage=%s\nContainerName=vsrun-q\nExec=sh -c "trap \\"exit 0\\" TERM; echo from a unit; while :; do sleep 0.1; done"\nNetwork=none\n[Service]\nTimeoutStartSec=120\n' "$i" >/home/user/.config/containers/systemd/vsrun-q.container
chown -R user: /home/user/.config
check 'quadlet' 0 '^active from a unit$' sh -c "as_user systemctl --user daemon-reload; as_user systemctl --user start vsrun-q; for n in 1 2 3 4 5 6 7 8 9; do podman logs vsrun-q 2>/dev/null | grep -q unit && break; sleep 0.3; done; echo \$(as_user systemctl --user is-active vsrun-q) \$(podman logs vsrun-q)"
check 'quadlet, stopped' 0 '^inactive gone$' sh -c "as_user systemctl --user stop vsrun-q; echo \$(as_user systemctl --user is-active vsrun-q) \$(podman container exists vsrun-q || echo gone)"
if [ -e /var/lib/vm/debian.tar ]; then
	step 240 'an image with systemd'
	podman import -q - localhost/debian:latest </var/lib/vm/debian.tar >/dev/null
	check 'systemd in a container' 0 '^(running|degraded)$' sh -c "podman run -d --name sd --network none --systemd=always localhost/debian /sbin/init >/dev/null; for n in \$(seq 60); do r=\$(podman exec sd systemctl is-system-running 2>/dev/null); case \$r in running|degraded) break;; esac; sleep 1; done; echo \$r"
	check 'a unit in it' 0 '^ran$' podman exec sd systemd-run -q --pipe --wait echo ran
	check 'stopped by its signal' 0 '^exited (0|130)$' sh -c "podman stop -t 50 sd >/dev/null; podman inspect sd -f '{{.State.Status}} {{.State.ExitCode}}'; podman rm -f sd >/dev/null"
	podman rmi -f localhost/debian >/dev/null 2>&1
else
	skip 'systemd in a container' 'needs /var/lib/vm/debian.tar, a Debian with systemd'
fi
many "${AT_ONCE:-100}" podman
compare_census
result
