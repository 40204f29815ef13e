# Runs one program of the suite, in mount and ipc namespaces of its own: some
# programs mount things on this side and then remove them by path.
#	run.sh LAYOUT PROGRAM SCRATCH SECONDS [CONTROLLER]...
# SCRATCH holds rt, a wrapper of the runtime that also writes its calls to
# SCRATCH/calls, and gets stdout, stderr, exit and leaks. CONTROLLERs of version
# 1 are mounted beside those that are.
set -u
layout=$1 program=$2 scratch=$3 seconds=$4
shift 4

if test "$layout" = v2-private; then
	umount -l /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup || exit 99
fi
if test $# -gt 0; then
	mkdir "$scratch/cgroup" && mount -t tmpfs cgroup "$scratch/cgroup" || exit 99
	for d in /sys/fs/cgroup/*; do
		mountpoint -q "$d" || continue
		mkdir "$scratch/cgroup/${d##*/}" && mount --bind "$d" "$scratch/cgroup/${d##*/}" || exit 99
	done
	for c; do
		mkdir "$scratch/cgroup/$c" && mount -t cgroup -o "$c" cgroup "$scratch/cgroup/$c" || exit 99
	done
	mount --move "$scratch/cgroup" /sys/fs/cgroup || exit 99
fi
umask 022
mkdir "$scratch/tmp" "$scratch/state" || exit 99
: >"$scratch/calls"
RUNTIME=$scratch/rt TMPDIR=$scratch/tmp timeout -k 5 "$seconds" "./$program" >"$scratch/stdout" 2>"$scratch/stderr"
echo $? >"$scratch/exit"

# Programs that give up halfway leave their containers; that is no fault of the runtime.
for c in "$scratch"/state/*; do
	test -e "$c" && "$scratch/rt" delete --force "${c##*/}" >>"$scratch/cleanup" 2>&1
done

# What is left now is a leak. Container ids are UUIDs, cgroups are named after
# them or by the program.
{
	ls "$scratch/state" | sed 's/^/state directory /'
	grep -oE '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}' "$scratch/calls" | sort -u >"$scratch/ids"
	case $program in
	linux_cgroups_* | delete_*) echo /cgrouptest >>"$scratch/ids" ;;
	esac
	find /sys/fs/cgroup -type d | grep -F -f "$scratch/ids" | sort -r >"$scratch/cgroups"
	sed 's/^/cgroup /' "$scratch/cgroups"
	grep -F " $scratch/tmp" /proc/self/mountinfo | cut -d' ' -f5 | sed 's/^/mount /'
} >"$scratch/leaks"
while read -r dir; do
	rmdir "$dir" 2>/dev/null
done <"$scratch/cgroups"
# A hierarchy that is unmounted before its last cgroup is gone for good would stay, unmounted.
for c; do
	for _ in 1 2 3 4 5 6 7 8 9 10; do
		grep -q "^$c	[0-9]*	1	" /proc/cgroups && break
		sleep 0.2
	done
	umount "/sys/fs/cgroup/$c"
done
exit 0
