package state

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Real-time signals as names count them: the C library keeps the kernel's first
// two for itself.
const (
	sigRTMin = 34
	sigRTMax = 64
)

// ParseSignal reads a signal as kill takes it: a number from 0 to 64, or a name
// in any case, with or without SIG: KILL, sigterm, RTMIN+3, RTMAX-1.
func ParseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > sigRTMax {
			return 0, unknownSignal(s)
		}
		return unix.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n, ok := realTime(name); ok {
		return n, nil
	}
	if n := signalNumber(name); n != 0 {
		return n, nil
	}
	return 0, unknownSignal(s)
}

func unknownSignal(s string) error { return fmt.Errorf("unknown signal %q", s) }

// realTime reads RTMIN, RTMIN+n, RTMAX and RTMAX-n.
func realTime(name string) (unix.Signal, bool) {
	var base int
	var sign byte
	switch {
	case strings.HasPrefix(name, "RTMIN"):
		base, sign = sigRTMin, '+'
	case strings.HasPrefix(name, "RTMAX"):
		base, sign = sigRTMax, '-'
	default:
		return 0, false
	}
	rest := name[len("RTMIN"):]
	if rest == "" {
		return unix.Signal(base), true
	}
	n, err := strconv.ParseUint(rest[1:], 10, 8)
	if rest[0] != sign || err != nil || n > sigRTMax-sigRTMin {
		return 0, false
	}
	if sign == '-' {
		return unix.Signal(base - int(n)), true
	}
	return unix.Signal(base + int(n)), true
}

// signalNumber returns the number of a name without SIG, or 0. Compilers turn
// the switch into a search; a map would be filled at start.
func signalNumber(name string) unix.Signal {
	switch name {
	case "ABRT", "IOT":
		return unix.SIGABRT
	case "ALRM":
		return unix.SIGALRM
	case "BUS":
		return unix.SIGBUS
	case "CHLD", "CLD":
		return unix.SIGCHLD
	case "CONT":
		return unix.SIGCONT
	case "FPE":
		return unix.SIGFPE
	case "HUP":
		return unix.SIGHUP
	case "ILL":
		return unix.SIGILL
	case "INT":
		return unix.SIGINT
	case "IO", "POLL":
		return unix.SIGIO
	case "KILL":
		return unix.SIGKILL
	case "PIPE":
		return unix.SIGPIPE
	case "PROF":
		return unix.SIGPROF
	case "PWR":
		return unix.SIGPWR
	case "QUIT":
		return unix.SIGQUIT
	case "SEGV":
		return unix.SIGSEGV
	case "STKFLT":
		return 16 // not on every architecture in x/sys
	case "STOP":
		return unix.SIGSTOP
	case "SYS":
		return unix.SIGSYS
	case "TERM":
		return unix.SIGTERM
	case "TRAP":
		return unix.SIGTRAP
	case "TSTP":
		return unix.SIGTSTP
	case "TTIN":
		return unix.SIGTTIN
	case "TTOU":
		return unix.SIGTTOU
	case "URG":
		return unix.SIGURG
	case "USR1":
		return unix.SIGUSR1
	case "USR2":
		return unix.SIGUSR2
	case "VTALRM":
		return unix.SIGVTALRM
	case "WINCH":
		return unix.SIGWINCH
	case "XCPU":
		return unix.SIGXCPU
	case "XFSZ":
		return unix.SIGXFSZ
	}
	return 0
}
