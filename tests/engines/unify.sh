#!/bin/sh
# vsrun unify on the stores of Podman and containerd: committed layers share what is equal in them, and nothing while that is unsafe.
. "$(dirname "$0")/lib.sh"
[ "$(basename "$RUNTIME")" = vsrun ] || none "only vsrun unifies"
cgroup=vsrun-engines-unify
cleanup() {
	podman rm -fa -t 0 >/dev/null 2>&1
	podman rmi -fa >/dev/null 2>&1
	ctr -a "$dir/sock" task rm -f c >/dev/null 2>&1
	ctr -a "$dir/sock" container rm c >/dev/null 2>&1
	stop_pid "$dir/pid"
}
export CONTAINERS_CONF=/dev/null
scratch
export CONTAINERS_CONF="$dir/containers.conf" CONTAINERS_STORAGE_CONF="$dir/storage.conf" CONTAINERS_REGISTRIES_CONF="$dir/registries.conf"

# A second image, whose only layer has the same files and one more.
mkdir -p "$dir/two/archive"
cp -a "$dir/rootfs" "$dir/two/rootfs"
echo more >"$dir/two/rootfs/etc/more"
tar -C "$dir/two/rootfs" -cf "$dir/two/archive/layer.tar" .
sed "s/sha256:[0-9a-f]*/sha256:$(sha256sum "$dir/two/archive/layer.tar" | cut -d' ' -f1)/" "$dir/archive/config.json" >"$dir/two/archive/config.json"
sed 's/vsrun-test/vsrun-two/' "$dir/archive/manifest.json" >"$dir/two/archive/manifest.json"
tar -C "$dir/two/archive" -cf "$dir/two/image.tar" manifest.json config.json layer.tar
two=localhost/vsrun-two:latest

if command -v podman >/dev/null && command -v conmon >/dev/null; then
	printf '[containers]\ndefault_ulimits = []\napparmor_profile = ""\n%s\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n[engine.runtimes]\nvsrun = ["%s"]\n' \
		"$(has_controller pids || echo 'pids_limit = 0')" "$RUNTIME" >"$dir/containers.conf"
	sed -i "s,^\[engine\],&\nruntime = \"vsrun\"," "$dir/containers.conf"
	printf '[storage]\ndriver = "overlay"\ngraphroot = "%s/root"\nrunroot = "%s/run"\n' "$dir" "$dir" >"$dir/storage.conf"
	: >"$dir/registries.conf"
	printf '{"default":[{"type":"insecureAcceptAnything"}]}' >"$dir/policy.json"
	for a in "$dir/image.tar" "$dir/two/image.tar"; do
		podman load -q --signature-policy "$dir/policy.json" -i "$a" >/dev/null || bad 'podman: load' "podman load failed"
	done
	p="podman run --network none --cgroup-parent /$cgroup"
	check 'podman: a container' 0 '' $p -d --name c $image sh -c 'echo mine >/etc/mine; cp /bin/busybox /own; exec sleep 1000'
	await podman exec c test -e /own
	check 'podman: dry run beside a container' 1 'in use|running|is at work|mounted' "$RUNTIME" unify --containers-storage "$dir/root" --dry-run
	check 'podman: refused beside a container' 1 'in use|running|is at work|mounted' "$RUNTIME" unify --containers-storage "$dir/root"
	podman stop -t 0 c >/dev/null
	check 'podman: nothing was changed' 0 '^2$' sh -c "find $dir/root/overlay -name busybox -type f -links 1 | wc -l"
	check 'podman: dry run' 0 'would be saved|saved' "$RUNTIME" unify --containers-storage "$dir/root" --dry-run
	check 'podman: the dry run has changed nothing' 0 '^2$' sh -c "find $dir/root/overlay -name busybox -type f -links 1 | wc -l"
	find "$dir/root/overlay" -path '*diff*' ! -type d -printf '%P %s %m %U %G %T@ %l\n' | sort >"$dir/podman.before"
	check 'podman: unify' 0 'saved' "$RUNTIME" unify --containers-storage "$dir/root"
	check 'podman: layers share' 0 '^1$' sh -c "find $dir/root/overlay -name busybox -type f -links +1 -printf '%i\n' | sort -u | wc -l"
	check 'podman: the container keeps its own' 0 '^1$' sh -c "find $dir/root/overlay -name own -type f -links 1 | wc -l"
	check 'podman: equal in all but links' 0 '^same$' sh -c "find $dir/root/overlay -path '*diff*' ! -type d -printf '%P %s %m %U %G %T@ %l\n' | sort | diff - $dir/podman.before && echo same"
	check 'podman: the container goes on' 0 '^mine$' sh -c 'podman start c >/dev/null && podman exec c cat /etc/mine'
	podman rm -f -t 0 c >/dev/null
	check 'podman: a new container' 0 '^more$' $p --rm $two cat /etc/more
	check 'podman: writes stay its own' 0 '^one$' $p --rm $image sh -c 'echo x >>/bin/busybox; chmod 700 /etc/passwd; echo one'
	check 'podman: and nobody else has them' 0 '^644 0$' $p --rm $two sh -c 'echo $(stat -c %a /etc/passwd) $(tail -c 2 /bin/busybox | grep -c x)'
	check 'podman: an image goes' 0 '' podman rmi $two
	check 'podman: the other is whole' 0 '^hello$' $p --rm $image echo hello
	check 'podman: loaded again' 0 '' podman load -q --signature-policy "$dir/policy.json" -i "$dir/two/image.tar"
	check 'podman: unify again' 0 'saved' "$RUNTIME" unify --containers-storage "$dir/root"
else
	skip podman "it is not installed"
fi

if command -v containerd >/dev/null && command -v ctr >/dev/null; then
	start() {
		containerd -c "$dir/config.toml" >"$dir/log" 2>&1 &
		echo $! >"$dir/pid"
		await ctr -a "$dir/sock" version || bad 'containerd: daemon' "$(tail -3 "$dir/log")"
	}
	printf 'version = 2\nroot = "%s/croot"\nstate = "%s/cstate"\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\n  address = "%s/sock"\n' "$dir" "$dir" "$dir" >"$dir/config.toml"
	start
	for a in "$dir/image.tar" "$dir/two/image.tar"; do
		ctr -a "$dir/sock" image import "$a" >/dev/null || bad 'containerd: import' "ctr image import failed"
	done
	c="ctr -a $dir/sock run --runc-binary $RUNTIME --cgroup /$cgroup/c"
	check 'containerd: a container' 0 '' $c -d $image c sh -c 'cp /bin/busybox /own; exec sleep 1000'
	snapshots=$dir/croot/io.containerd.snapshotter.v1.overlayfs/snapshots
	await sh -c "find $snapshots -name own | grep ."
	check 'containerd: refused beside the daemon' 1 'in use|running|is at work|mounted' "$RUNTIME" unify --containerd "$dir/croot"
	ctr -a "$dir/sock" task kill -s KILL c
	await sh -c "ctr -a $dir/sock task ls | grep -q STOPPED"
	ctr -a "$dir/sock" task rm c >/dev/null
	check 'containerd: refused without containers' 1 'in use|running|is at work|mounted' "$RUNTIME" unify --containerd "$dir/croot"
	stop_pid "$dir/pid"
	check 'containerd: nothing was changed' 0 '^2$' sh -c "find $snapshots -name busybox -type f -links 1 | wc -l"
	check 'containerd: dry run' 0 'would be saved|saved' "$RUNTIME" unify --containerd "$dir/croot" --dry-run
	check 'containerd: the dry run has changed nothing' 0 '^2$' sh -c "find $snapshots -name busybox -type f -links 1 | wc -l"
	check 'containerd: unify' 0 'saved' "$RUNTIME" unify --containerd "$dir/croot"
	check 'containerd: layers share' 0 '^1$' sh -c "find $snapshots -name busybox -type f -links +1 -printf '%i\n' | sort -u | wc -l"
	check 'containerd: the container keeps its own' 0 '^1$' sh -c "find $snapshots -name own -type f -links 1 | wc -l"
	start
	check 'containerd: a new container' 0 '^more$' $c --rm $two d cat /etc/more
	check 'containerd: writes stay its own' 0 '^one$' $c --rm $image d sh -c 'chmod 700 /etc/passwd; echo one'
	check 'containerd: and nobody else has them' 0 '^644$' $c --rm $two d stat -c %a /etc/passwd
	check 'containerd: an image goes' 0 '' ctr -a "$dir/sock" image rm --sync $two
	check 'containerd: the other is whole' 0 '^hello$' $c --rm $image d echo hello
else
	skip containerd "it is not installed"
fi
result
