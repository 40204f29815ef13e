#!/bin/sh
# SELinux with RUNTIME, alone and under Podman: labels of processes and mounts, and what the policy then denies. For a machine that was
# booted with it (lsm=selinux); nothing there is labelled but what this script labels.
. "$(dirname "$0")/lib.sh"
needs_systemd
[ -e /sys/fs/selinux/enforce ] || none "needs a kernel that was booted with SELinux (make test-vm has one)"
command -v podman >/dev/null || none "podman is not installed"
cgroup=none
cleanup() {
	setenforce 0
	[ ! -e "$dir/vsruntest.cil" ] || semodule -r vsruntest
	podman rm -fa -t 0 >/dev/null 2>&1
	rm -f /etc/containers/containers.conf.d/vsrun-test.conf
}
scratch
setenforce 0
setup_podman /etc/containers
podman load -q -i "$dir/image.tar" >/dev/null || { bad load "podman load failed"; result; exit; }
census >"$dir/before"
mkdir "$dir/bin" "$dir/vol2"
cp "$dir/vol/file" "$dir/vol2/"
printf '#!/bin/sh\nexec podman run --rm --network none "$@"\n' >"$dir/bin/run"
printf '#!/bin/sh\ngetfattr --only-values -n security.selinux "$1" 2>/dev/null | tr -d "\\000"; echo\n' >"$dir/bin/labelof"
chmod +x "$dir"/bin/*
PATH=$dir/bin:$PATH
i=$image
container='system_u:system_r:container_t:s0' file='system_u:object_r:container_file_t:s0'

if [ -x "${VSRUN_TEST_BIN:-}/integration.test" ] && [ "$(basename "$RUNTIME")" = vsrun ]; then
	check 'the runtime alone' 0 '^ *--- PASS: TestScripts/selinux' sh -c "cd '$here/../integration' && integration.test -test.v -test.run TestScripts/selinux"
fi
check 'Podman knows' 0 '^true$' podman info -f '{{.Host.Security.SELinuxEnabled}}'
check 'process' 0 "^$container:c[0-9]+,c[0-9]+" run $i cat /proc/self/attr/current
check 'its own categories' 0 '^2$' sh -c "(run $i cat /proc/self/attr/current; echo; run $i cat /proc/self/attr/current) | tr -d '\\000' | grep -c ."
check 'root filesystem' 0 "^overlay / .*context=\"?$file:c1,c2" run --security-opt label=level:s0:c1,c2 $i grep ' / ' /proc/mounts
check 'mounts of the container' 0 "^tmpfs /t .*context=\"?$file:c1,c2" run --security-opt label=level:s0:c1,c2 --tmpfs /t $i grep ' /t ' /proc/mounts
check 'level' 0 "^$container:c1,c2" run --security-opt label=level:s0:c1,c2 $i cat /proc/self/attr/current
# Another type for a container, of those that policies have (container_init_t is Fedora's).
type=
for t in container_init_t container_user_t spc_t; do
	[ -z "$type" ] && printf 'system_u:system_r:%s:s0' $t >/sys/fs/selinux/context && type=$t
done 2>/dev/null
check 'type' 0 "^system_u:system_r:$type:s0" run --security-opt label=type:$type $i cat /proc/self/attr/current
check 'disabled' 0 '!container_t' run --security-opt label=disable $i cat /proc/self/attr/current
check 'privileged' 0 '!container_t' run --privileged $i cat /proc/self/attr/current
# Podman shows the file that it finds in the runtime's message; all of that only in its log for debugging.
check 'a label that is not there' 126 'unable to assign security attribute' run --security-opt label=type:no_such_t $i true
check 'its name in the message' 126 'no_such_t.*`/proc/.*attr/exec`' podman --log-level debug run --rm --network none --security-opt label=type:no_such_t $i true
check 'detached' 0 '' podman run -d --name l --network none --security-opt label=level:s0:c3,c4 $i sleep 100000
check 'exec' 0 "^$container:c3,c4" podman exec l cat /proc/self/attr/current
check 'as the host sees it' 0 "^$container:c3,c4" sh -c 'cat /proc/$(podman inspect l -f "{{.State.Pid}}")/attr/current'
check 'rm' 0 'l' podman rm -ft 0 l
check 'volume, private' 0 "^$file:c5,c6\$" sh -c "run --security-opt label=level:s0:c5,c6 -v '$dir/vol:/v:Z' $i true; labelof '$dir/vol/file'"

# Debian's policy lets an engine's own domain start containers. In a machine whose files have no labels all run in the kernel's.
if grep -q :kernel_t: /proc/self/attr/current; then
	cat >"$dir/vsruntest.cil" <<-T
		(allow kernel_t container_domain (process (transition noatsecure rlimitinh siginh)))
		(allow container_domain kernel_t (fd (use)))
		(allow container_domain kernel_t (fifo_file (read write getattr append ioctl)))
		(allow container_domain kernel_t (unix_stream_socket (read write getattr ioctl)))
		(allow container_domain kernel_t (process (sigchld)))
	T
	step 300 'the policy'
	semodule -i "$dir/vsruntest.cil" || bad 'the policy' 'semodule -i fails'
fi
# From here on the policy is enforced. What is not in a container is not confined by it.
check 'enforced' 0 '^Enforcing$' sh -c 'setenforce 1; getenforce'
check 'allowed: its root' 0 '^made$' run $i sh -c 'echo made >/tmp/made && cat /tmp/made'
check 'allowed: a volume of its level' 0 '^content$' run --security-opt label=level:s0:c5,c6 -v "$dir/vol:/v" $i cat /v/file
check 'denied: a volume of another level' 1 'Permission denied' run --security-opt label=level:s0:c7,c8 -v "$dir/vol:/v" $i cat /v/file
check 'denied: a volume that is not labelled' 1 'Permission denied' run -v "$dir/vol2:/v" $i cat /v/file
check 'allowed: the same with :z' 0 '^content$' run -v "$dir/vol2:/v:z" $i cat /v/file
check 'denied: the host' 1 'Permission denied' run -v /var/lib:/host $i ls /host/dpkg
check 'allowed: the host, not confined' 0 '^status$' run --security-opt label=disable -v /var/lib:/host $i ls /host/dpkg
check 'denied: exec of a file of the host' '126' '(p|P)ermission denied' run -v /usr/bin:/host $i /host/env
check 'denied: to see the host' 0 '^denied$' run --pid host --security-opt label=level:s0:c1,c2 $i sh -c 'cat /proc/1/environ >/dev/null 2>&1 || echo denied'
check 'exec, enforced' 0 "^$container" sh -c "podman run -d --name l --network none $i sleep 100000 >/dev/null; podman exec l cat /proc/self/attr/current; podman rm -ft 0 l >/dev/null"
check 'terminal, enforced' 7 '/dev/pts/0$' sh -c "script -qec \"podman run --rm --network none -it $i sh -c 'tty; sleep 0.3; exit 7'\" /dev/null"
check 'pod, enforced' 0 "^$container" sh -c "podman pod create --name p1 --infra=false >/dev/null; podman run --rm --network none --pod p1 $i cat /proc/self/attr/current; podman pod rm -f p1 >/dev/null"
setenforce 0
compare_census
result
