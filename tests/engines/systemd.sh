#!/bin/sh
# The systemd cgroup driver of RUNTIME, without an engine: scopes, slices, properties, delegation, daemon-reload.
. "$(dirname "$0")/lib.sh"
needs_systemd
cgroup=none
cleanup() {
	for c in "$dir"/state/*; do [ -e "$c" ] && "$RUNTIME" --root "$dir/state" delete -f "${c##*/}" >/dev/null 2>&1; done
	systemctl stop 'vsrun-*.scope' vsrun.slice >/dev/null 2>&1
}
scratch
command -v jq >/dev/null || none "jq is not installed"
census >"$dir/before"
mkdir "$dir/state" "$dir/bin" "$dir/b"
tar -C "$dir/b" -xf "$dir/rootfs.tar" --one-top-level=rootfs
(cd "$dir/b" && "$RUNTIME" spec)
cp "$dir/b/config.json" "$dir/default.json"
# rt ARGS, and bundle PROGRAM JQ-EDIT: its config.json.
printf '#!/bin/sh\nexec %s --root %s/state --systemd-cgroup "$@"\n' "$RUNTIME" "$dir" >"$dir/bin/rt"
cat >"$dir/bin/bundle" <<T
#!/bin/sh
jq --arg p "\$1" ".root.readonly = false | .process.terminal = false | .process.args = [\"sh\", \"-c\", \\\$p] | .process.env = [\"PATH=/bin\"] | \${2:-.}" $dir/default.json >$dir/b/config.json
T
# scope_of ID: the name of the unit that its process is in
cat >"$dir/bin/scope_of" <<T
#!/bin/sh
sed -n 's,.*/\([^/]*\.scope\).*,\1,p' "/proc/\$(rt state "\$1" | jq .pid)/cgroup" | head -n 1
T
printf '#!/bin/sh\nexec systemctl show "$(scope_of "$1")" "-p$2"\n' >"$dir/bin/show"
chmod +x "$dir"/bin/*
PATH=$dir/bin:$PATH
cd "$dir/b" || exit
up() { bundle 'sleep 100000' "$1" && rt run -d "$2" >"$dir/up.out" 2>&1 </dev/null || cat "$dir/up.out"; }

bundle 'cat /proc/self/cgroup; exit 3' '.linux.cgroupsPath = "vsrun-a.slice:vsrun:one"'
check 'run in a slice' 3 '' rt run one
check 'its scope is gone' 0 '!vsrun-one' systemctl list-units --all --no-legend 'vsrun-*'

up '.linux.cgroupsPath = "vsrun-a.slice:vsrun:two" | .linux.resources.memory = {limit: 67108864, reservation: 33554432, swap: 100663296} |
	.linux.resources.cpu = {shares: 512, quota: 50000, period: 100000, cpus: "0", mems: "0"} | .linux.resources.pids.limit = 20' two
check 'where' 0 '/vsrun.slice/vsrun-a.slice/vsrun-two.scope(/container)?$' sh -c 'cat /proc/$(rt state two | jq .pid)/cgroup'
check 'systemctl status' 0 'Active: active \(running\)' systemctl status --no-pager vsrun-two.scope
check 'it is delegated' 0 '^Delegate=yes$' show two Delegate
check 'its slice' 0 '^Slice=vsrun-a.slice$' show two Slice
check 'MemoryMax' 0 '^MemoryMax=67108864$' show two MemoryMax
check 'MemoryLow' 0 '^MemoryLow=33554432$' show two MemoryLow
check 'MemorySwapMax' 0 '^MemorySwapMax=33554432$' show two MemorySwapMax
check 'CPUQuota' 0 '^CPUQuotaPerSecUSec=500ms$' show two CPUQuotaPerSecUSec
check 'CPUWeight' 0 '^CPUWeight=(20|59)$' show two CPUWeight
check 'TasksMax' 0 '^TasksMax=20$' show two TasksMax
check 'AllowedCPUs' 0 '^AllowedCPUs=0$' show two AllowedCPUs
check 'the files' 0 '^67108864 50000 100000 20 0 $' sh -c 'cd /sys/fs/cgroup/vsrun.slice/vsrun-a.slice/vsrun-two.scope; cat memory.max cpu.max pids.max cpuset.cpus | tr "\n" " "'
check 'update' 0 '' rt update --memory 104857600 --memory-swap 209715200 --pids-limit 30 two
check 'update: the unit' 0 '^MemoryMax=104857600 TasksMax=30 $' sh -c "systemctl show vsrun-two.scope -pMemoryMax -pTasksMax | sort | tr '\n' ' '"
check 'update: the files' 0 '^104857600 30 $' sh -c 'cd /sys/fs/cgroup/vsrun.slice/vsrun-a.slice/vsrun-two.scope; cat memory.max pids.max | tr "\n" " "'
check 'they stay after daemon-reload' 0 '^104857600 50000 100000 30 0 $' sh -c 'systemctl daemon-reload; cd /sys/fs/cgroup/vsrun.slice/vsrun-a.slice/vsrun-two.scope; cat memory.max cpu.max pids.max cpuset.cpus | tr "\n" " "'
check 'exec is in the scope' 0 'vsrun-two.scope|^0::/$' rt exec two cat /proc/self/cgroup
check 'pause' 0 '' rt pause two
check 'paused' 0 '^"paused"$' sh -c 'rt state two | jq .status'
check 'resume' 0 '' rt resume two
check 'kill' 0 '' rt kill two KILL
check 'the scope goes' 0 '!vsrun-two' sh -c 'for n in 1 2 3 4 5 6 7 8 9; do r=$(systemctl list-units --all --no-legend "vsrun-two.scope"); [ -z "$r" ] && break; sleep 0.3; done; echo "$r"'
check 'delete' 0 '' rt delete two

up '.linux.cgroupsPath = "vsrun-a.slice:vsrun:dev" | .linux.resources.devices = [{allow: false, access: "rwm"}, {allow: true, type: "c", major: 1, minor: 11, access: "rw"}] |
	.process.capabilities[] += ["CAP_MKNOD"]' dev
check 'device rules' 0 '^(allowed,)?refused$' rt exec dev sh -c 'mknod /dev/k c 1 11 2>/dev/null; mknod /tmp/m c 1 1 2>/dev/null; head -c 1 /tmp/m >/dev/null 2>&1 && echo open || echo refused'
for verb in daemon-reload daemon-reexec; do
	check "device rules after $verb" 0 '^refused full$' sh -c "systemctl $verb; sleep 1; echo \$(rt exec dev sh -c 'head -c 1 /tmp/m >/dev/null 2>&1 && echo open || echo refused; (echo x >/dev/full) 2>/dev/null || echo full')"
done
check 'delete -f' 0 '' rt delete -f dev

up '.linux.cgroupsPath = "vsrun-a.slice:vsrun:prop" | .annotations = {"org.systemd.property.TimeoutStopUSec": "uint64 1234567", "org.systemd.property.CollectMode": "'"'inactive-or-failed'"'", "org.systemd.property.Description": "'"'a container'"'"}' prop
check 'property TimeoutStopUSec' 0 '^TimeoutStopUSec=1.234567s$' show prop TimeoutStopUSec
check 'property CollectMode' 0 '^CollectMode=inactive-or-failed$' show prop CollectMode
check 'property Description' 0 '^Description=a container$' show prop Description
check 'stopped by systemctl' 0 '^"stopped"$' sh -c 'systemctl stop vsrun-prop.scope; rt state prop | jq .status'
check 'deleted after that' 0 '' rt delete prop

bundle true '.linux.cgroupsPath = "vsrun-a.slice:vsrun:bad" | .annotations = {"org.systemd.property.NoSuch": "true"}'
check 'a property that is not there' 1 'NoSuch|ropert' rt run bad
bundle true '.linux.cgroupsPath = "/no/systemd/path"'
check 'a path that is no slice:prefix:name' 1 'slice:prefix:name|cgroupsPath' rt run bad2
bundle true '.linux.cgroupsPath = "nosuffix:vsrun:x"'
check 'no slice' 1 'slice' rt run bad3

bundle 'exec sleep 1000' '.linux.cgroupsPath = "vsrun-a.slice:vsrun:sub" | .mounts |= map(if .type == "cgroup" then .options -= ["ro"] else . end)'
check 'a writable cgroup' 0 '^made$' sh -c 'rt run -d sub >/dev/null 2>&1 </dev/null; rt exec sub sh -c "mkdir /sys/fs/cgroup/inner && echo \$\$ >/sys/fs/cgroup/inner/cgroup.procs && echo made"'
check 'delete with a cgroup within' 0 '' rt delete -f sub
check 'default path' 0 '/system.slice/(vsrun|runc|libcontainer|crun)-def.scope' sh -c 'bundle "sleep 1000" "del(.linux.cgroupsPath)"; rt run -d def >/dev/null 2>&1 </dev/null; cat /proc/$(rt state def | jq .pid)/cgroup; rt delete -f def'
check 'out of memory' 137 '' sh -c 'bundle "dd if=/dev/zero of=/dev/null bs=100M count=1" ".linux.cgroupsPath = \"vsrun-a.slice:vsrun:oom\" | .linux.resources.memory = {limit: 16777216, swap: 16777216}"; rt run oom'
check 'the name again at once' 0 '^4$' sh -c 'bundle "exit 4" ".linux.cgroupsPath = \"vsrun-a.slice:vsrun:again\""; for n in 1 2 3 4 5; do rt run again; c=$?; done; echo $c'

# A unit of the operator's own starts a bundle.
check 'from a transient service' 0 '^unit$' sh -c "bundle 'echo unit' '.linux.cgroupsPath = \"vsrun-a.slice:vsrun:svc\"'; systemd-run -q --wait --pipe -p Delegate=yes $dir/bin/rt run --bundle $dir/b svc"
compare_census
result
