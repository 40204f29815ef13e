package host

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Processes: making, naming and confining them.
var (
	// Clone3 is clone3(2).
	Clone3 = &Feature{Name: "clone3", Since: "5.3", probe: func() error {
		return present(call(unix.SYS_CLONE3, 0, 0))
	}}

	// CloneIntoCgroup is clone3's CLONE_INTO_CGROUP: a child born in a cgroup v2.
	CloneIntoCgroup = &Feature{Name: "CLONE_INTO_CGROUP", Since: "5.7", probe: func() error {
		return accepted(clone3(&cloneArgs{flags: unix.CLONE_INTO_CGROUP, cgroup: badFD}), unix.EBADF)
	}}

	// CloneClearSighand is clone3's CLONE_CLEAR_SIGHAND: handlers reset in the child.
	CloneClearSighand = &Feature{Name: "CLONE_CLEAR_SIGHAND", Since: "5.5", probe: func() error {
		// The pidfd can't be stored at address 8, which is seen last.
		return accepted(clone3(&cloneArgs{flags: unix.CLONE_CLEAR_SIGHAND | unix.CLONE_PIDFD, pidfd: 8}), unix.EFAULT)
	}}

	// PidfdOpen is pidfd_open(2).
	PidfdOpen = &Feature{Name: "pidfd_open", Since: "5.3", probe: func() error {
		return present(call(unix.SYS_PIDFD_OPEN, ^uintptr(0), 0))
	}}

	// PidfdSendSignal is pidfd_send_signal(2).
	PidfdSendSignal = &Feature{Name: "pidfd_send_signal", Since: "5.1", probe: func() error {
		return present(call(unix.SYS_PIDFD_SEND_SIGNAL, badFD, 0, 0, 0))
	}}

	// PidfdGetfd is pidfd_getfd(2).
	PidfdGetfd = &Feature{Name: "pidfd_getfd", Since: "5.6", probe: func() error {
		return present(call(unix.SYS_PIDFD_GETFD, badFD, 0, 0))
	}}

	// SetnsPidfd is setns(2) to several namespaces of a process by its pidfd.
	SetnsPidfd = &Feature{Name: "setns by pidfd", Since: "5.8", probe: probeSetnsPidfd}

	// CloseRange is close_range(2).
	CloseRange = &Feature{Name: "close_range", Since: "5.9", probe: func() error {
		return present(call(unix.SYS_CLOSE_RANGE, 2, 1, 0))
	}}

	// CloseRangeCloexec is close_range's CLOSE_RANGE_CLOEXEC.
	CloseRangeCloexec = &Feature{Name: "CLOSE_RANGE_CLOEXEC", Since: "5.11", probe: func() error {
		return accepted(call(unix.SYS_CLOSE_RANGE, badFD, badFD, unix.CLOSE_RANGE_CLOEXEC), 0)
	}}

	// MemfdExec is memfd_create's MFD_EXEC and MFD_NOEXEC_SEAL.
	MemfdExec = &Feature{Name: "MFD_EXEC", Since: "6.3", probe: func() error {
		// A name at a bad address is looked at after the flags.
		return accepted(call(unix.SYS_MEMFD_CREATE, 0, unix.MFD_EXEC|unix.MFD_CLOEXEC), unix.EFAULT)
	}}

	// AmbientCaps is the fifth capability set.
	AmbientCaps = &Feature{Name: "ambient capabilities", Plural: true, Since: "4.3", probe: func() error {
		return accepted(call(unix.SYS_PRCTL, unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_IS_SET, 0, 0, 0), 0)
	}}

	// Securebits is prctl's PR_GET_SECUREBITS, and setting them with CAP_SETPCAP.
	Securebits = &Feature{Name: "securebits", Plural: true, Since: "2.6.26", probe: func() error {
		return accepted(call(unix.SYS_PRCTL, unix.PR_GET_SECUREBITS), 0)
	}}

	// Keyrings is keyctl(2).
	Keyrings = &Feature{Name: "session keyrings", Plural: true, Since: "2.6.10", Config: "CONFIG_KEYS", probe: func() error {
		return present(call(unix.SYS_KEYCTL, unix.KEYCTL_GET_KEYRING_ID, 0, 0))
	}}

	// CoreScheduling is prctl's PR_SCHED_CORE.
	CoreScheduling = &Feature{Name: "core scheduling", Since: "5.14", Config: "CONFIG_SCHED_CORE", probe: func() error {
		// A bad scope gives EINVAL either way, a bad address EFAULT or, without SMT, ENODEV.
		switch errno := call(unix.SYS_PRCTL, unix.PR_SCHED_CORE, unix.PR_SCHED_CORE_GET, 0, unix.PR_SCHED_CORE_SCOPE_THREAD, 8); errno {
		case 0, unix.EFAULT, unix.ENODEV:
			return nil
		default:
			return accepted(errno, 0)
		}
	}}

	// MemoryPolicy is set_mempolicy(2).
	MemoryPolicy = &Feature{Name: "NUMA memory policy", Since: "2.6.7", Config: "CONFIG_NUMA", probe: func() error {
		return present(call(unix.SYS_GET_MEMPOLICY, 0, 0, 0, 0, 0))
	}}
)

// probeSetnsPidfd joins the uts namespace this thread is in, on a thread that is
// thrown away afterwards. Kernels before 5.8 know no pidfd there: EINVAL.
func probeSetnsPidfd() error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		fd, err := unix.PidfdOpen(unix.Getpid(), 0)
		if err != nil {
			done <- err
			return
		}
		err = unix.Setns(fd, unix.CLONE_NEWUTS)
		unix.Close(fd) // before anybody is told
		switch err {
		case nil, unix.EPERM:
			done <- nil
		case unix.EINVAL:
			done <- errMissing
		default:
			done <- err
		}
	}()
	return <-done
}
