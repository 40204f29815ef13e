package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const isolatedEnv = "VSRUN_TEST_ISOLATED"

// Isolated reports whether this process runs as Isolate arranges it.
func Isolated() bool { return os.Getenv(isolatedEnv) == "inside" }

// Isolate runs this test program again where it may break things, and returns
// its exit code: in new mount, pid, network, IPC and UTS namespaces, with
// every mount of the host read-only but the cgroups, and a private tmpfs on
// /run, where TMPDIR is. Whatever a runtime under test leaves there is seen
// exactly, and the host sees nothing of it. With v2, the only cgroup
// filesystem is a version 2 one.
//
// It is to be called first in TestMain, and does not return in the processes
// that it starts before the last one; env goes to that.
func Isolate(v2 bool, env ...string) (code int, err error) {
	if os.Getenv(isolatedEnv) == "init" {
		if code, err = initProcess(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
		os.Exit(code)
	}
	cmd := again("init")
	cmd.Env = append(cmd.Env, env...)
	if v2 {
		cmd.Env = append(cmd.Env, isolatedEnv+"_V2=1")
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL,
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// again is this program once more.
func again(stage string) *exec.Cmd {
	exe, err := os.Executable()
	if err != nil {
		exe = os.Args[0]
	}
	// What go test wants to know of files is the first process's to tell.
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return strings.HasPrefix(a, "-test.testlogfile") })
	cmd := exec.Command(exe, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, isolatedEnv+"=") })
	cmd.Env = append(cmd.Env, isolatedEnv+"="+stage)
	return cmd
}

// initProcess is process 1: it arranges the mounts, starts the tests and
// waits for everything that is left to it.
func initProcess() (int, error) {
	if err := privateMounts(os.Getenv(isolatedEnv+"_V2") != ""); err != nil {
		return 1, err
	}
	if err := loopback(); err != nil {
		return 1, err
	}
	signal.Ignore(unix.SIGINT, unix.SIGTERM)
	cmd := again("inside")
	cmd.Env = append(cmd.Env, "TMPDIR="+privateTmp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return 1, err
	}
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 1, os.NewSyscallError("wait4", err)
		case pid == cmd.Process.Pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case pid == cmd.Process.Pid:
			return ws.ExitStatus(), nil
		}
	}
}

// loopback sets the device up, which CRIU needs.
func loopback() error {
	sock, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(sock)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP)
	return os.NewSyscallError("ioctl(SIOCSIFFLAGS)", unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, lo))
}

const privateTmp = "/run/tmp"

// isolation is something that was done for it, and how that went.
type isolation struct {
	what string
	err  error
}

func privateMounts(v2 bool) error {
	run := func(steps ...func() isolation) error {
		for _, f := range steps {
			if s := f(); s.err != nil {
				return fmt.Errorf("isolate: %s: %w", s.what, s.err)
			}
		}
		return nil
	}
	mount := func(fs, on, data string, flags uintptr) func() isolation {
		return func() isolation { return isolation{"mount " + fs + " on " + on, unix.Mount(fs, on, fs, flags, data)} }
	}
	attr := func(on string, a unix.MountAttr) func() isolation {
		return func() isolation {
			return isolation{"mount_setattr " + on, unix.MountSetattr(unix.AT_FDCWD, on, unix.AT_RECURSIVE, &a)}
		}
	}
	steps := []func() isolation{
		attr("/", unix.MountAttr{Propagation: unix.MS_PRIVATE}),
		attr("/", unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}),
		detachOthers,
		mount("proc", "/proc", "", 0),
		mount("tmpfs", "/run", "mode=755,size=512m", 0),
		func() isolation { return isolation{"mkdir " + privateTmp, os.Mkdir(privateTmp, 0o777|os.ModeSticky)} },
	}
	if v2 && CgroupLayout() != "v2" {
		steps = append(steps,
			func() isolation {
				return isolation{"unmount the cgroups", unix.Unmount("/sys/fs/cgroup", unix.MNT_DETACH)}
			},
			mount("cgroup2", "/sys/fs/cgroup", "", 0))
	} else {
		steps = append(steps, attr("/sys/fs/cgroup", unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}))
	}
	if err := run(steps...); err != nil {
		return err
	}
	// What is in /tmp stays to be seen, and can be written beside, where the kernel has overlays: CRIU wants that.
	for _, d := range []string{"/run/overlay", "/run/overlay/upper", "/run/overlay/work"} {
		_ = os.Mkdir(d, 0o777)
	}
	_ = unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=700") // where the kernel has one
	_ = unix.Mount("overlay", "/tmp", "overlay", 0, "lowerdir=/tmp,upperdir=/run/overlay/upper,workdir=/run/overlay/work")
	return nil
}

// detachOthers takes away what others have mounted where they keep what comes
// and goes: it would go from here, too.
func detachOthers() isolation {
	for _, dir := range []string{"/run", "/tmp"} {
		for _, point := range mountPoints(dir) {
			if point != dir {
				_ = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			}
		}
	}
	return isolation{}
}

// FaultsName is what BuildFaults makes, in a test machine's VSRUN_TEST_BIN.
const FaultsName = "vsrun-faults"

// BuildFaults builds vsrun as make does, with the build tag that lets it be
// stopped at any point, as out. It takes the helper program that make has
// built, and where VSRUN_TEST_BIN names a directory, the vsrun-faults there.
func BuildFaults(out string) error {
	if dir := os.Getenv("VSRUN_TEST_BIN"); dir != "" {
		return CopyFile(filepath.Join(dir, FaultsName), out)
	}
	root, err := RepoRoot()
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "build", "-trimpath", "-tags", "netgo,osusergo,faults",
		"-gcflags=github.com/vsrun/vsrun/...=-l", "-ldflags", "-s -w -X main.version=faults -E github.com/vsrun/vsrun/libvserver/guard.entry", "-o", out, ".")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building vsrun with faults: %w\n%s", err, text)
	}
	return nil
}
