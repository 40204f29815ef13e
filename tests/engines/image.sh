#!/bin/sh
# image.sh DIR: makes DIR/rootfs.tar and DIR/image.tar, a docker-archive of it that every engine loads, named
# localhost/vsrun-test:latest. In it are busybox, two users, and a file that is no program.
set -eu
dir=$1
busybox=$(command -v busybox)
r=$dir/rootfs
mkdir -p "$r/bin" "$r/etc" "$r/tmp" "$r/root" "$r/home/u" "$r/usr"
cp "$busybox" "$r/bin/busybox"
for a in $("$busybox" --list); do
	[ "$a" = busybox ] || ln -sf busybox "$r/bin/$a"
done
ln -sfn ../bin "$r/usr/bin"
printf '%s\n' root:x:0:0:root:/root:/bin/sh u:x:1000:1000::/home/u:/bin/sh >"$r/etc/passwd"
printf '%s\n' root:x:0: u:x:1000: extra:x:2000:u >"$r/etc/group"
echo text >"$r/etc/noexec"
chown 1000:1000 "$r/home/u"
chmod 1777 "$r/tmp"
tar -C "$r" -cf "$dir/rootfs.tar" .

a=$dir/archive
mkdir -p "$a"
cp "$dir/rootfs.tar" "$a/layer.tar"
layer=$(sha256sum "$a/layer.tar" | cut -d' ' -f1)
cat >"$a/config.json" <<JSON
{"architecture":"$(go env GOARCH 2>/dev/null || echo amd64)","os":"linux","created":"2020-01-01T00:00:00Z",
"config":{"Env":["PATH=/bin"],"Cmd":["sleep","1000000"]},
"rootfs":{"type":"layers","diff_ids":["sha256:$layer"]},"history":[{"created":"2020-01-01T00:00:00Z"}]}
JSON
printf '[{"Config":"config.json","RepoTags":["localhost/vsrun-test:latest"],"Layers":["layer.tar"]}]' >"$a/manifest.json"
tar -C "$a" -cf "$dir/image.tar" manifest.json config.json layer.tar
