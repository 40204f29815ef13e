package seccomp

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/wire"
)

const (
	maxArgs  = 6    // of a system call
	maxErrno = 4095 // MAX_ERRNO: the kernel cuts larger ones down to it
)

// encode checks a profile and writes it as a request to the compiler, which is
// also the first part of the cache key. notify reports whether a rule has
// SCMP_ACT_NOTIFY.
func encode(p *specs.LinuxSeccomp) (request []byte, notify bool, err error) {
	def, fault := action(p.DefaultAction, p.DefaultErrnoRet)
	if fault != nil {
		return nil, false, fmt.Errorf("linux.seccomp.default%w", fault.upper())
	}
	if def.Kind == wire.Notify {
		// Also the calls that hand over the descriptor would wait for its reader.
		return nil, false, fmt.Errorf("linux.seccomp.defaultAction: %s cannot be the default", specs.ActNotify)
	}
	if p.ListenerMetadata != "" && p.ListenerPath == "" {
		return nil, false, fmt.Errorf("linux.seccomp.listenerMetadata: set, but linux.seccomp.listenerPath is not")
	}
	b := wire.AppendHeader(make([]byte, 0, 12<<10), def)

	if len(p.Architectures) > 255 {
		return nil, false, fmt.Errorf("linux.seccomp.architectures: %d entries, at most 255 are possible", len(p.Architectures))
	}
	b = append(b, byte(len(p.Architectures)))
	for i, name := range p.Architectures {
		a := archOf(name)
		if a == 0 {
			return nil, false, fmt.Errorf("linux.seccomp.architectures[%d]: unknown architecture %q", i, name)
		}
		b = append(b, byte(a))
	}

	b = wire.AppendUint32(b, uint32(len(p.Syscalls)))
	for i := range p.Syscalls {
		s := &p.Syscalls[i]
		a, fault := action(s.Action, s.ErrnoRet)
		if fault != nil {
			return nil, false, fmt.Errorf("linux.seccomp.syscalls[%d].%w", i, fault)
		}
		if a.Kind == wire.Notify && p.ListenerPath == "" {
			return nil, false, fmt.Errorf("linux.seccomp.syscalls[%d].action: %s needs linux.seccomp.listenerPath", i, specs.ActNotify)
		}
		notify = notify || a.Kind == wire.Notify
		b = wire.AppendAction(b, a)
		if b, err = appendConds(b, i, s.Args); err != nil {
			return nil, false, err
		}
		if b, err = appendNames(b, i, s.Names, a.Kind); err != nil {
			return nil, false, err
		}
	}
	return b, notify, nil
}

func appendConds(b []byte, group int, args []specs.LinuxSeccompArg) ([]byte, error) {
	if len(args) > 255 {
		return nil, fmt.Errorf("linux.seccomp.syscalls[%d].args: %d entries, at most 255 are possible", group, len(args))
	}
	b = append(b, byte(len(args)))
	for j := range args {
		arg := &args[j]
		if arg.Index >= maxArgs {
			return nil, fmt.Errorf("linux.seccomp.syscalls[%d].args[%d].index: %d, but system calls have arguments 0 to %d", group, j, arg.Index, maxArgs-1)
		}
		op := opOf(arg.Op)
		if op == 0 {
			return nil, fmt.Errorf("linux.seccomp.syscalls[%d].args[%d].op: unknown operator %q", group, j, arg.Op)
		}
		b = append(b, byte(arg.Index), byte(op))
		b = wire.AppendUint64(b, arg.Value)
		b = wire.AppendUint64(b, arg.ValueTwo)
	}
	return b, nil
}

func appendNames(b []byte, group int, names []string, kind wire.Kind) ([]byte, error) {
	if len(names) == 0 || len(names) > 65535 {
		return nil, fmt.Errorf("linux.seccomp.syscalls[%d].names: %d entries, must be 1 to 65535", group, len(names))
	}
	b = wire.AppendUint16(b, uint16(len(names)))
	for j, name := range names {
		// A NUL would end the name early on its way through C.
		if name == "" || len(name) > 255 || strings.IndexByte(name, 0) >= 0 {
			return nil, fmt.Errorf("linux.seccomp.syscalls[%d].names[%d]: %q is not a system call's name", group, j, name)
		}
		// The process that loads the filter still writes to its parent (that
		// the filter is there, or that execve failed), and the descriptor on
		// which a listener could let it go on is sent only after that.
		if kind == wire.Notify && name == "write" {
			return nil, fmt.Errorf("linux.seccomp.syscalls[%d].names[%d]: %s cannot be used for write", group, j, specs.ActNotify)
		}
		b = append(b, byte(len(name)))
		b = append(b, name...)
	}
	return b, nil
}

// actionFault is a fault of an action or of its errno: field (lower case) and text.
type actionFault struct{ field, text string }

func (e *actionFault) Error() string { return e.field + ": " + e.text }

// upper is the fault with its field as it is named after "default".
func (e *actionFault) upper() *actionFault {
	return &actionFault{string(e.field[0]-'a'+'A') + e.field[1:], e.text}
}

// action converts an action; errnoRet nil means EPERM where one is taken.
func action(name specs.LinuxSeccompAction, errnoRet *uint) (wire.Action, *actionFault) {
	a := wire.Action{Kind: kindOf(name)}
	max := uint(0)
	switch a.Kind {
	case 0:
		if name == "" {
			return a, &actionFault{"action", "missing"}
		}
		return a, &actionFault{"action", fmt.Sprintf("unknown action %q", string(name))}
	case wire.Errno:
		max = maxErrno
	case wire.Trace:
		max = unix.SECCOMP_RET_DATA
	}
	switch {
	case max == 0 && errnoRet != nil:
		return a, &actionFault{"errnoRet", string(name) + " takes no errno"}
	case max == 0:
	case errnoRet == nil:
		a.Data = uint16(unix.EPERM)
	case *errnoRet > max:
		return a, &actionFault{"errnoRet", fmt.Sprintf("%d is more than %d", *errnoRet, max)}
	default:
		a.Data = uint16(*errnoRet)
	}
	return a, nil
}
