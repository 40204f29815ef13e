#!/bin/sh
# Podman as a distribution sets it up, on a machine that systemd runs: its cgroups, AppArmor, timers, units, and what needs a whole kernel.
# Its containers stand in the machine's own storage: a machine for tests.
. "$(dirname "$0")/lib.sh"
needs_systemd
command -v podman >/dev/null || none "podman is not installed"
cgroup=none
cleanup() {
	podman rm -fa -t 0 >/dev/null 2>&1
	podman pod rm -fa -t 0 >/dev/null 2>&1
	rm -rf /etc/containers/systemd/vsrun-q* /etc/containers/containers.conf.d/vsrun-test.conf
}
scratch
setup_podman /etc/containers
podman load -q -i "$dir/image.tar" >/dev/null || { bad load "podman load failed"; result; exit; }
census >"$dir/before"
mkdir "$dir/bin"
printf '#!/bin/sh\nexec podman run --rm --network none "$@"\n' >"$dir/bin/run"
printf '#!/bin/sh\nexec script -qec "$1" /dev/null\n' >"$dir/bin/pty"
chmod +x "$dir"/bin/*
PATH=$dir/bin:$PATH
i=$image

check 'the runtime' 0 "^$rt_name systemd v2\$" podman info -f '{{.Host.OCIRuntime.Name}} {{.Host.CgroupManager}} {{.Host.CgroupsVersion}}'
check 'run with the default network' 0 'inet 10\.' podman run --rm $i ip -o addr show eth0
check 'a published port' 0 '^answer$' sh -c "podman run -d --name web -p 127.0.0.1:8099:80 $i sh -c 'while :; do echo answer | nc -l -p 80; done' >/dev/null; for n in 1 2 3 4 5 6 7 8 9; do busybox nc -w 5 127.0.0.1 8099 </dev/null | grep answer && break; sleep 0.3; done; podman rm -ft 0 web >/dev/null"
check 'AppArmor profile' 0 '^containers-default-.* \(enforce\)' run $i cat /proc/self/attr/current
check 'AppArmor unconfined' 0 '^unconfined' run --security-opt apparmor=unconfined $i cat /proc/self/attr/current
check 'AppArmor profile that is not there' 126 'apparmor|AppArmor' run --security-opt apparmor=nosuch $i true
check 'ulimit' 0 '^1234$' run --ulimit nofile=1234:2345 $i sh -c 'ulimit -n'
check 'init' 0 'podman-init|catatonit' run --init $i sh -c 'cat /proc/1/cmdline | tr "\\0" " "'
check 'user namespace auto' 0 ' +0 +[1-9][0-9]+ +[0-9]+' run --userns=auto $i cat /proc/self/uid_map
check 'user namespace auto, files' 0 '^0 0$' run --userns=auto $i stat -c '%u %g' /bin/busybox
check 'idmapped volume' 0 '^0 content$' run --userns=auto -v "$dir/vol:/v:idmap" $i sh -c 'echo $(stat -c %u /v/file) $(cat /v/file)'
check 'idmapped volume, written' 0 '^0$' sh -c "podman run --rm --userns=auto -v '$dir/vol:/v:idmap' $i touch /v/made && stat -c %u '$dir/vol/made'"
check 'ipc, uts, pid of the host' 0 '^same$' run --ipc host --uts host --pid host $i sh -c "test \$(readlink /proc/self/ns/ipc) = '$(readlink /proc/self/ns/ipc)' && test \$(readlink /proc/self/ns/uts) = '$(readlink /proc/self/ns/uts)' && test \$(readlink /proc/self/ns/pid) = '$(readlink /proc/self/ns/pid)' && echo same"
check 'shm size' 0 ' 1024 .*/dev/shm' run --shm-size 1m $i df -k /dev/shm
check 'device cgroup rule' 0 '^made$' run --cap-add mknod --device-cgroup-rule 'c 1:11 rw' $i sh -c 'mknod /tmp/k c 1 11 && : >/tmp/k && echo made'
check 'device not allowed' 1 'not permitted' run --cap-add mknod --security-opt apparmor=unconfined $i sh -c 'mknod /tmp/m c 1 1 && head -c 1 /tmp/m'
check 'log driver journald' 0 '^told$' sh -c "podman run --name j --log-driver journald --network none $i echo told >/dev/null; podman logs j; podman rm j >/dev/null"

check 'limits' 0 '' podman run -d --name l --network none --memory 64m --memory-reservation 32m --cpus 0.5 --pids-limit 17 --cpuset-cpus 0 --device /dev/fuse $i sleep 100000
scope=$(systemctl list-units --no-legend --plain 'libpod-*.scope' | awk '!/conmon/ {print $1; exit}')
check 'scope' 0 'Active: active \(running\)' systemctl status --no-pager "$scope"
check 'scope: limits' 0 '^CPUQuotaPerSecUSec=500ms MemoryLow=33554432 MemoryMax=67108864 TasksMax=17 $' sh -c "systemctl show '$scope' -p MemoryMax -p MemoryLow -p CPUQuotaPerSecUSec -p TasksMax | sort | tr '\\n' ' '"
check 'scope: cpuset' 0 '^AllowedCPUs=0$' systemctl show "$scope" -p AllowedCPUs
check 'cgroup: limits' 0 '^67108864 50000 100000 17 0 $' podman exec l sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max cpuset.cpus | tr "\\n" " "'
check 'update' 0 '^104857600 104857600$' sh -c "podman update --memory 100m l >/dev/null; echo \$(podman exec l cat /sys/fs/cgroup/memory.max) \$(systemctl show '$scope' -p MemoryMax --value)"
check 'device after daemon-reload' 0 '^allowed Operation not permitted$' sh -c "systemctl daemon-reload; echo \$(podman exec l sh -c 'head -c 0 /dev/fuse && echo allowed'; podman exec --privileged l sh -c 'mknod /tmp/m c 1 1; head -c 1 /tmp/m' 2>&1 | sed 's/.*: //')"
check 'device after daemon-reexec' 0 '^allowed$' sh -c "systemctl daemon-reexec; podman exec l sh -c 'head -c 0 /dev/fuse && echo allowed'"
check 'systemctl kill' 0 '^137$' sh -c "systemctl kill -s KILL '$scope'; podman wait l"
check 'scope is gone' 0 '!libpod' sh -c "for n in 1 2 3 4 5 6 7 8 9; do r=\$(systemctl list-units --all --no-legend 'libpod-*.scope'); [ -z \"\$r\" ] && break; sleep 0.3; done; echo \"\$r\"; podman rm l >/dev/null"
check 'slice' 0 'vsrun.slice/vsrun-test.slice/libpod-' sh -c "podman run -d --name s --network none --cgroup-parent vsrun-test.slice $i sleep 1000 >/dev/null; cat /proc/\$(podman inspect s -f '{{.State.Pid}}')/cgroup; podman rm -ft 0 s >/dev/null"
check 'without a cgroup of its own' 0 '^ok$' run --cgroups=disabled $i echo ok
check 'split cgroups' 0 '^ok$' systemd-run -q --wait --pipe -p Delegate=yes podman run --rm --network none --cgroups=split $i echo ok
check 'out of memory' 0 '^true 137$' sh -c "podman run --name o --network none --memory 16m --memory-swap 16m $i dd if=/dev/zero of=/dev/null bs=100M count=1 >/dev/null 2>&1; podman inspect o -f '{{.State.OOMKilled}} {{.State.ExitCode}}'; podman rm o >/dev/null"

# Sockets of a service manager come through conmon and the runtime: LISTEN_FDS, with LISTEN_PID the container's own.
check 'socket activation' 0 '^1 1 socket:' sh -c "systemd-socket-activate -l 127.0.0.1:8098 /usr/bin/podman run --name act --network none $i sh -c 'echo \$LISTEN_FDS \$LISTEN_PID \$(readlink /proc/self/fd/3)' >'$dir/activated' 2>&1 </dev/null & for n in \$(seq 60); do echo | busybox nc -w 1 127.0.0.1 8098; grep -q socket '$dir/activated' && break; sleep 0.3; done; cat '$dir/activated'; podman rm -ft 0 act >/dev/null"
check 'healthy by a timer' 0 '^healthy$' sh -c "podman run -d --name h --network none --health-cmd 'test -e /etc/passwd' --health-interval 2s --health-timeout 200s $i sleep 1000 >/dev/null; for n in \$(seq 40); do r=\$(podman inspect h -f '{{.State.Health.Status}}'); [ \"\$r\" = healthy ] && break; sleep 0.5; done; echo \$r; [ \"\$r\" = healthy ] || podman inspect h -f '{{json .State.Health}}'; podman rm -ft 0 h >/dev/null"
mkdir -p /etc/containers/systemd
printf '[Container]\nImage=%s\nContainerName=vsrun-q\nExec=sh -c "trap \\"exit 0\\" TERM; echo from a unit; while :; do sleep 0.1; done"\nNetwork=none\nNoNewPrivileges=true\n[Service]\nTimeoutStartSec=120\n' "$i" >/etc/containers/systemd/vsrun-q.container
check 'quadlet' 0 '^active from a unit$' sh -c "systemctl daemon-reload; systemctl start vsrun-q; for n in 1 2 3 4 5 6 7 8 9; do podman logs vsrun-q 2>/dev/null | grep -q unit && break; sleep 0.3; done; echo \$(systemctl is-active vsrun-q) \$(podman logs vsrun-q)"
check 'quadlet, stopped' 0 '^inactive gone$' sh -c "systemctl stop vsrun-q; echo \$(systemctl is-active vsrun-q) \$(podman container exists vsrun-q || echo gone)"
# One that tells of its readiness itself: the runtime passes it on.
if [ -x "${VSRUN_TEST_BIN:-}/probe" ]; then
	printf '[Container]\nImage=%s\nContainerName=vsrun-n\nExec=sh -c "trap \\"exit 0\\" TERM; sleep 2; /probe notify READY=1; while :; do sleep 0.1; done"\nVolume=%s/probe:/probe:ro\nNetwork=none\nNotify=true\n[Service]\nTimeoutStartSec=120\n' "$i" "$VSRUN_TEST_BIN" >/etc/containers/systemd/vsrun-q-n.container
	check 'quadlet that notifies' 0 '^active sent$' sh -c "systemctl daemon-reload; systemctl start vsrun-q-n; echo \$(systemctl is-active vsrun-q-n) \$(podman logs vsrun-n); systemctl stop vsrun-q-n; rm /etc/containers/systemd/vsrun-q-n.container"
else
	skip 'quadlet that notifies' 'needs VSRUN_TEST_BIN, a directory with tests/cmd/probe'
fi

pod='{"apiVersion":"v1","kind":"Pod","metadata":{"name":"kp"},"spec":{"containers":[{"name":"a","image":"'$i'","command":["sleep","1000"],"resources":{"limits":{"memory":"64Mi","cpu":"0.5"}},"securityContext":{"readOnlyRootFilesystem":true}},{"name":"b","image":"'$i'","command":["sleep","1000"]}]}}'
if podman image exists localhost/podman-pause:"$(podman version -f '{{.Client.Version}}')-0" || podman info -f '{{.Version.Version}}' | grep -qE '^(5\.[3-9]|[6-9])'; then
	check 'kube play' 0 '^67108864 Read-only' sh -c "echo '$pod' | podman kube play --network none - >/dev/null; echo \$(podman exec kp-a cat /sys/fs/cgroup/memory.max) \$(podman exec kp-a touch /x 2>&1 | sed 's/.*: //'); podman exec kp-b true"
	check 'kube down' 0 '!kp-' sh -c "echo '$pod' | podman kube down - >/dev/null 2>&1; podman ps -a --format '{{.Names}}'"
else
	skip 'kube play' 'this Podman needs an image for pods, which it would have to build'
fi
check 'pod of systemd slices' 0 '^ok$' sh -c "podman pod create --name p1 --infra=false >/dev/null; podman run --rm --network none --pod p1 $i echo ok; podman pod rm -f p1 >/dev/null"

if [ -e /var/lib/vm/debian.tar ]; then
	podman import -q /var/lib/vm/debian.tar localhost/debian:latest >/dev/null
	check 'systemd in a container' 0 '^(running|degraded)$' sh -c "podman run -d --name sd --network none --systemd=always localhost/debian /sbin/init >/dev/null; for n in \$(seq 60); do r=\$(podman exec sd systemctl is-system-running 2>/dev/null); case \$r in running|degraded) break;; esac; sleep 1; done; echo \$r"
	check 'a unit in it' 0 '^ran$' podman exec sd systemd-run -q --pipe --wait echo ran
	check 'its journal' 0 'Reached target' podman exec sd journalctl --no-pager -b
	check 'stopped by its signal' 0 '^exited (0|130)$' sh -c "podman stop -t 50 sd >/dev/null; podman inspect sd -f '{{.State.Status}} {{.State.ExitCode}}'; podman rm -f sd >/dev/null"
else
	skip 'systemd in a container' 'needs /var/lib/vm/debian.tar, a Debian with systemd'
fi

if command -v criu >/dev/null; then
	check 'checkpoint' 0 '^exited true$' sh -c "podman run -d --name k --network none $i sh -c 'n=0; while :; do n=\$((n+1)); echo \$n >>/tmp/n; sleep 0.1; done' >/dev/null; sleep 1; podman container checkpoint k >/dev/null; podman inspect k -f '{{.State.Status}} {{.State.Checkpointed}}'"
	check 'restore' 0 '^goes on$' sh -c "podman container restore k >/dev/null; a=\$(podman exec k tail -n 1 /tmp/n); sleep 1; b=\$(podman exec k tail -n 1 /tmp/n); [ \$b -gt \$a ] && echo goes on"
	check 'checkpoint, left running' 0 '^running$' sh -c "podman container checkpoint -R k >/dev/null; podman inspect k -f '{{.State.Status}}'"
	check 'checkpoint exported and imported' 0 '^goes on$' sh -c "podman container checkpoint -e '$dir/k.tar' k >/dev/null; podman rm -ft 0 k >/dev/null; podman container restore -i '$dir/k.tar' -n k2 >/dev/null; a=\$(podman exec k2 tail -n 1 /tmp/n); sleep 1; b=\$(podman exec k2 tail -n 1 /tmp/n); [ \$b -gt \$a ] && echo goes on; podman rm -ft 0 k2 >/dev/null"
else
	skip checkpoint 'CRIU is not installed'
fi

many "${AT_ONCE:-100}" podman
podman rmi -f localhost/debian >/dev/null 2>&1
podman rm -fa -t 0 >/dev/null 2>&1
compare_census
result
