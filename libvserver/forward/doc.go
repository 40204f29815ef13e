// Package forward passes the signals that this process gets on to a container's process.
//
// The signal handler itself sends them, by pidfd_send_signal(2) (Linux 5.1), which is safe there. os/signal does the same
// with a thread and two switches between threads for each of some sixty signals at the start, which was over a
// millisecond of every `run`; a table of sixty handlers is set in ten microseconds.
//
// Not forwarded are SIGKILL and SIGSTOP (nobody can), what a process does to itself (SIGSEGV and its like, SIGPIPE,
// SIGCHLD), SIGURG and SIGPROF (Go's own), and what the caller has set to be ignored (nohup).
package forward

import "golang.org/x/sys/unix"

func forwarded(s unix.Signal) bool {
	switch s {
	case unix.SIGKILL, unix.SIGSTOP, unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS,
		unix.SIGPIPE, unix.SIGCHLD, unix.SIGURG, unix.SIGPROF:
		return false
	}
	// 32 to 34 belong to C libraries' threads.
	return s < 32 || s > 34
}

// lastSignal is SIGRTMAX.
const lastSignal = 64
