package libvserver

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/hooks"
	"github.com/vsrun/vsrun/libvserver/console"
	"github.com/vsrun/vsrun/libvserver/criu"
	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
)

// notified does what is the runtime's part in a restore.
func (s *restoration) notified(n *criu.Notification) error {
	log.Debugf("CRIU: %s", n.Script)
	switch n.Script {
	case "setup-namespaces":
		return s.environment(n.PID)
	case "orphan-pts-master":
		return s.console(n.FD)
	case "network-unlock":
		if s.netns > 0 {
			unlockAgain(s.netns)
		}
	case "post-restore":
		return s.restored(n.PID)
	}
	return nil
}

// adopt takes note of the first process.
func (s *restoration) adopt(pid int) error {
	if s.process != nil {
		if s.process.PID == pid {
			return nil
		}
		unix.Close(s.process.PIDFD)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open of the restored process", err)
	}
	s.process = launch.Running(pid, fd)
	return s.noteProcess()
}

// environment finishes the namespaces that CRIU has just made: images have no network, and hooks may want to make one.
func (s *restoration) environment(pid int) error {
	if err := s.adopt(pid); err != nil {
		return err
	}
	if s.plan.Clone.Has(unix.CLONE_NEWNET) {
		if err := setLoopback(s.process.PIDFD); err != nil {
			return fmt.Errorf("set the loopback device up: %w", err)
		}
	}
	if err := s.moveNetDevices(); err != nil {
		return err
	}
	h := s.bundle.Spec.Hooks
	if h == nil {
		return nil
	}
	if err := s.save(); err != nil {
		return err
	}
	st := s.specState(specs.StateCreated, pid)
	//lint:ignore SA1019 deprecated in the specification, and used
	if err := hooks.Run("prestart", h.Prestart, st, hooks.InRuntime(s.bundle.Dir)); err != nil {
		return err
	}
	return hooks.Run("createRuntime", h.CreateRuntime, st, hooks.InRuntime(s.bundle.Dir))
}

// setLoopback sets lo up in the network namespace of a process.
func setLoopback(pidfd int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		done <- func() error {
			if err := unix.Setns(pidfd, unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("setns", err)
			}
			sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // any family takes the call
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
		}()
	}()
	return <-done
}

// console takes the master of the container's terminal.
func (s *restoration) console(fd int) error {
	if fd < 0 {
		return errors.New("CRIU sent no descriptor for the container's terminal")
	}
	if s.creation.o.ConsoleSocket == "" {
		if s.o.Detach || s.master >= 0 {
			return nil
		}
		var err error
		s.master, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewSyscallError("fcntl(F_DUPFD)", err)
	}
	sock, err := console.ConnectSocket(s.creation.o.ConsoleSocket)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	if err := console.SendFD(sock, "orphan-pts-master", fd); err != nil {
		return fmt.Errorf("send the terminal to socket %s: %w", s.creation.o.ConsoleSocket, err)
	}
	return nil
}

// restored records the container, whose processes are there and about to go on.
func (s *restoration) restored(pid int) error {
	_ = fault.On && fault.At(fault.Restored)
	if err := s.adopt(pid); err != nil {
		return err
	}
	if err := reattribute(s.outer, s.process.PIDFD); err != nil {
		return err
	}
	// Since 3.14 CRIU restores into a time namespace, so that clocks go on from where they stood.
	if newTimeNamespace(pid) {
		s.hooks.NS |= unix.CLONE_NEWTIME
	}
	if s.rdt != nil {
		if err := s.rdt.add(pid); err != nil {
			return err
		}
	}
	if err := s.restoreSockets(); err != nil {
		return err
	}
	s.rec.Created = time.Now().UTC()
	if err := s.created(); err != nil {
		return err
	}
	s.done = true
	return nil
}

func newTimeNamespace(pid int) bool {
	own, err := os.Readlink("/proc/self/ns/time")
	if err != nil {
		return false
	}
	its, err := os.Readlink("/proc/" + itoa(pid) + "/ns/time")
	return err == nil && its != own
}
