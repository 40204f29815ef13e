#!/bin/sh
# Docker as a distribution sets it up: docker.service with the systemd cgroup driver, its bridge, AppArmor, and live restore.
. "$(dirname "$0")/lib.sh"
needs_systemd
command -v dockerd >/dev/null || none "dockerd is not installed"
docker=/usr/bin/docker
[ -x $docker ] || none "the docker client is not installed"
cgroup=none
cleanup() {
	# shellcheck disable=SC2046 # a list of ids
	docker rm -f $(docker ps -aq) >/dev/null 2>&1
	systemctl stop docker.socket docker.service containerd.service >/dev/null 2>&1
	rm -f /etc/docker/daemon.json
}
scratch
mkdir -p /etc/docker
# What contrib says, with this path, and as the default.
jq --arg p "$RUNTIME" '.runtimes = {"under-test": {path: $p}} | .["default-runtime"] = "under-test" | .["live-restore"] = true' \
	"$here/../../contrib/engines/daemon.json" >/etc/docker/daemon.json
PATIENCE=$((PATIENCE * 2)) check 'docker.service' 0 '' systemctl start docker.service
docker info >/dev/null 2>&1 || { bad daemon "$(journalctl -u docker --no-pager -n 5 -o cat)"; result; exit; }
docker load -q -i "$dir/image.tar" >/dev/null || { bad load "docker load failed"; result; exit; }
census >"$dir/before"
mkdir "$dir/bin"
printf '#!/bin/sh\nexec docker run --rm --network none "$@"\n' >"$dir/bin/run"
chmod +x "$dir"/bin/*
PATH=$dir/bin:$PATH
i=$image

check 'the runtime' 0 '^under-test systemd 2$' docker info -f '{{.DefaultRuntime}} {{.CgroupDriver}} {{.CgroupVersion}}'
check 'run on the bridge' 0 'inet 172\.' docker run --rm $i ip -o addr show eth0
check 'AppArmor profile' 0 '^docker-default \(enforce\)' run $i cat /proc/self/attr/current
check 'seccomp' 0 'Seccomp:.2' run $i grep Seccomp: /proc/self/status
check 'init' 0 'init' run --init $i sh -c 'cat /proc/1/cmdline'
check 'detached' 0 '' docker run -d --name c1 --network none -m 64m --cpus 0.5 --pids-limit 17 --cpuset-cpus 0 --device /dev/full:/dev/f $i sleep 100000
scope=docker-$(docker inspect c1 -f '{{.Id}}').scope
check 'scope' 0 'Active: active \(running\)' systemctl status --no-pager "$scope"
check 'scope: limits' 0 '^AllowedCPUs=0 CPUQuotaPerSecUSec=500ms MemoryMax=67108864 TasksMax=17 $' sh -c "systemctl show '$scope' -p MemoryMax -p CPUQuotaPerSecUSec -p TasksMax -p AllowedCPUs | sort | tr '\\n' ' '"
check 'update' 0 '^104857600 104857600$' sh -c "docker update -m 100m --memory-swap 200m c1 >/dev/null; echo \$(docker exec c1 cat /sys/fs/cgroup/memory.max) \$(systemctl show '$scope' -p MemoryMax --value)"
check 'device after daemon-reload' 0 '^allowed refused$' sh -c "systemctl daemon-reload; echo \$(docker exec c1 sh -c '(head -c 0 /dev/f) && echo allowed; mknod /tmp/m c 1 1; head -c 1 /tmp/m >/dev/null 2>&1 && echo open || echo refused')"
check 'live restore' 0 '^running hello$' sh -c "systemctl restart docker.service; echo \$(docker inspect c1 -f '{{.State.Status}}') \$(docker exec c1 echo hello)"
check 'stop' 0 'c1' docker stop -t 0 c1
check 'rm' 0 'c1' docker rm c1
many "${AT_ONCE:-100}" docker
compare_census
[ "$failed" = 0 ] || journalctl -u docker -o cat --no-pager | grep -o 'level=\(warning\|error\) msg="[^"]*"' | sort | uniq -c | sort -rn | head -n 5
result
