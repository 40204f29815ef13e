package libvserver

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/seccomp"
)

func itoa(n int) string { return strconv.Itoa(n) }

func (n *creation) filter() error {
	if l := n.bundle.Spec.Linux; l != nil {
		return filter(l.Seccomp, n.plan)
	}
	return nil
}

// filter compiles a seccomp profile, or finds it compiled, and gives it to the plan's step.
func filter(profile *specs.LinuxSeccomp, p *plan.Plan) error {
	if profile == nil {
		return nil
	}
	prog, err := seccomp.Filter(profile, filterCache())
	if err != nil {
		return err
	}
	if prog == nil { // a profile without effect
		p.Drop(func(s plan.Step) bool { f, ok := s.(plan.Seccomp); return ok && !f.Network && !f.Quota })
		return nil
	}
	if prog.CacheErr != nil {
		log.Warnf("cache of seccomp filters: %v", prog.CacheErr)
	}
	for _, name := range prog.Unknown() {
		log.Debugf("linux.seccomp: system call %q is not known to libseccomp, ignored", name)
	}
	for i, s := range p.Steps {
		if s, ok := s.(plan.Seccomp); ok && !s.Network && !s.Quota {
			s.Filter = &plan.Filter{Insns: prog.Insns, Flags: uint(prog.Flags)}
			p.Steps[i] = s
		}
	}
	return nil
}

// filterCache is where compiled filters are kept: one place for all state roots, gone with a reboot.
func filterCache() string {
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && unprivileged() {
		return dir + "/vsrun-seccomp"
	}
	return "/run/vsrun-seccomp"
}

// listenFDs passes socket activation on (sd_listen_fds(3)), and checks that preserved descriptors are there.
func (n *creation) listenFDs() error {
	count, _ := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID"))
	if count > 0 && pid == os.Getpid() {
		// In its own pid namespace the program is process 1; nobody else can be told apart before it exists.
		n.opt.Env = append(n.opt.Env, "LISTEN_FDS="+strconv.Itoa(count), "LISTEN_PID=1")
		if names := os.Getenv("LISTEN_FDNAMES"); names != "" {
			n.opt.Env = append(n.opt.Env, "LISTEN_FDNAMES="+names)
		}
		n.opt.PreserveFDs += count
	}
	if pid != os.Getpid() {
		count = 0
	}
	return preserved(n.opt.PreserveFDs, count)
}

// preserved checks that the descriptors from 3 on that the program is to have are there. The first listening ones come
// from a service manager, which may have marked them close-on-exec.
func preserved(count, listening int) error {
	for fd := 3; fd < 3+count; fd++ {
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
		if errors.Is(err, unix.EBADF) {
			return fmt.Errorf("file descriptor %d to be preserved is not open: please check --preserve-fds", fd)
		}
		if err == nil && flags&unix.FD_CLOEXEC != 0 {
			if fd < 3+listening {
				_, err = unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0)
			} else {
				return fmt.Errorf("file descriptor %d to be preserved is one of the runtime's own: please check --preserve-fds", fd)
			}
		}
		if err != nil {
			return fmt.Errorf("--preserve-fds: descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// stopped waits for a child's end and says how it ended, in words.
func reap(pidfd int) (string, error) {
	st, err := waitExit(pidfd)
	switch {
	case err != nil:
		return "", err
	case st.signal != 0:
		return "was killed by " + unix.SignalName(st.signal), nil
	case st.code != 0:
		return "exited with status " + itoa(st.code), nil
	}
	return "exited", nil
}
