package harness

import (
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Busybox returns the path of a static busybox on this host.
func Busybox() (string, error) {
	for _, name := range []string{"busybox", "busybox.static"} {
		p, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		f, err := elf.Open(p)
		if err != nil {
			continue
		}
		static := true
		for _, ph := range f.Progs {
			static = static && ph.Type != elf.PT_INTERP
		}
		f.Close()
		if static {
			return p, nil
		}
	}
	return "", fmt.Errorf("no static busybox found in PATH: apt-get install busybox-static")
}

// The applets that get a link in a test rootfs. /bin/sh runs any other applet
// as well: Debian's busybox-static is built to prefer its own.
var applets = []string{"sh", "ash", "cat", "echo", "ls", "sleep", "true", "false", "id", "env", "mount",
	"umount", "stat", "readlink", "grep", "sed", "head", "wc", "test", "touch", "mkdir", "rm", "ln", "mknod",
	"kill", "hostname", "dd", "chmod", "chown", "ps", "tty", "stty", "seq", "sort", "tr", "cut", "pwd", "find",
	"dmesg", "ifconfig", "ipcs", "nc", "uname", "mkfifo", "printf"}

// MakeRootfs makes a root filesystem of busybox and, when probe names a file,
// of that program as /bin/probe.
func MakeRootfs(dir, probe string) error {
	busybox, err := Busybox()
	if err != nil {
		return err
	}
	for _, d := range []string{"bin", "etc", "root", "proc", "sys", "dev", "tmp", "run", "var", "mnt", "home"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.Chmod(filepath.Join(dir, "tmp"), os.ModeSticky|0o777); err != nil {
		return err
	}
	if err := CopyFile(busybox, filepath.Join(dir, "bin/busybox")); err != nil {
		return err
	}
	for _, a := range applets {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", a)); err != nil {
			return err
		}
	}
	files := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\n",
		"etc/group":  "root:x:0:\nuser:x:1000:\nextra:x:2000:user\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if probe != "" {
		return CopyFile(probe, filepath.Join(dir, "bin/probe"))
	}
	return nil
}

// CopyFile copies a program.
func CopyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	// A child that is forked meanwhile would have the copy open for writing until its own execve, and the program could not be run.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return err
	}
	if _, err := io.Copy(out, in); err != nil {
		out.Close()
		return err
	}
	return out.Close()
}

// MakeBundle makes a bundle with its own rootfs and config.json, edited as
// Edit describes.
func MakeBundle(dir, probe string, edits ...string) error {
	if err := MakeRootfs(filepath.Join(dir, "rootfs"), probe); err != nil {
		return err
	}
	if err := WriteJSON(filepath.Join(dir, "config.json"), DefaultConfig()); err != nil {
		return err
	}
	return EditFile(filepath.Join(dir, "config.json"), edits...)
}

// DefaultConfig is what `runc spec` writes, without a terminal and with
// ociVersion 1.0.2, which every runtime of the field accepts.
func DefaultConfig() any {
	doc, err := Decode([]byte(defaultConfig))
	if err != nil {
		panic(err)
	}
	return doc
}

const defaultConfig = `{
	"ociVersion": "1.0.2",
	"process": {
		"terminal": false,
		"user": {"uid": 0, "gid": 0},
		"args": ["/bin/true"],
		"env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
		"cwd": "/",
		"capabilities": {
			"bounding": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"effective": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"],
			"permitted": ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
		},
		"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
		"noNewPrivileges": true
	},
	"root": {"path": "rootfs", "readonly": true},
	"hostname": "vsrun-test",
	"mounts": [
		{"destination": "/proc", "type": "proc", "source": "proc"},
		{"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
			"options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
		{"destination": "/dev/pts", "type": "devpts", "source": "devpts",
			"options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
		{"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
			"options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
		{"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
			"options": ["nosuid", "noexec", "nodev"]},
		{"destination": "/sys", "type": "sysfs", "source": "sysfs",
			"options": ["nosuid", "noexec", "nodev", "ro"]},
		{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
			"options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}
	],
	"linux": {
		"resources": {"devices": [{"allow": false, "access": "rwm"}]},
		"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"},
			{"type": "cgroup"}],
		"maskedPaths": ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
			"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi"],
		"readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
	}
}`
