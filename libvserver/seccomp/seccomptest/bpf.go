// Package seccomptest runs and prints seccomp programs without the kernel, for
// tests: other architectures' calls can be tried, and golden files can be read.
// Nothing but tests may import it.
package seccomptest

import (
	"encoding/binary"
	"fmt"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Data is struct seccomp_data.
type Data struct {
	Nr   uint32
	Arch uint32
	IP   uint64
	Args [6]uint64
}

func (d *Data) word(off uint32) (uint32, bool) {
	var b [64]byte
	binary.NativeEndian.PutUint32(b[0:], d.Nr)
	binary.NativeEndian.PutUint32(b[4:], d.Arch)
	binary.NativeEndian.PutUint64(b[8:], d.IP)
	for i, a := range d.Args {
		binary.NativeEndian.PutUint64(b[16+8*i:], a)
	}
	if off%4 != 0 || off > 60 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(b[off:]), true
}

// Decode splits a program into instructions.
func Decode(prog []byte) []unix.SockFilter {
	insns := make([]unix.SockFilter, len(prog)/8)
	for i := range insns {
		b := prog[8*i:]
		insns[i] = unix.SockFilter{Code: binary.NativeEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.NativeEndian.Uint32(b[4:])}
	}
	return insns
}

// Run gives the program's verdict (SECCOMP_RET_*) on a call, or an error for
// anything that seccomp(2) would have refused to load.
func Run(prog []byte, d Data) (uint32, error) {
	insns := Decode(prog)
	var a uint32
	for pc := 0; pc < len(insns); pc++ {
		in := insns[pc]
		var cond bool
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			v, ok := d.word(in.K)
			if !ok {
				return 0, fmt.Errorf("instruction %d loads offset %d", pc, in.K)
			}
			a = v
			continue
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= in.K
			continue
		case unix.BPF_RET | unix.BPF_K:
			return in.K, nil
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(in.K)
			continue
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			cond = a == in.K
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			cond = a > in.K
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			cond = a >= in.K
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			cond = a&in.K != 0
		default:
			return 0, fmt.Errorf("instruction %d has code %#x", pc, in.Code)
		}
		if cond {
			pc += int(in.Jt)
		} else {
			pc += int(in.Jf)
		}
	}
	return 0, fmt.Errorf("program of %d instructions ends without a return", len(insns))
}

// Print writes a program as text, one instruction a line.
func Print(prog []byte) string {
	var s strings.Builder
	for i, in := range Decode(prog) {
		fmt.Fprintf(&s, "%4d  ", i)
		switch in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			fmt.Fprintf(&s, "ld [%d]", in.K)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			fmt.Fprintf(&s, "and %#x", in.K)
		case unix.BPF_RET | unix.BPF_K:
			s.WriteString("ret " + Verdict(in.K))
		case unix.BPF_JMP | unix.BPF_JA:
			fmt.Fprintf(&s, "ja %d", i+1+int(in.K))
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			printJump(&s, "jeq", i, in)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			printJump(&s, "jgt", i, in)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			printJump(&s, "jge", i, in)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			printJump(&s, "jset", i, in)
		default:
			fmt.Fprintf(&s, "code %#x jt %d jf %d k %#x", in.Code, in.Jt, in.Jf, in.K)
		}
		s.WriteByte('\n')
	}
	return s.String()
}

func printJump(s *strings.Builder, op string, i int, in unix.SockFilter) {
	fmt.Fprintf(s, "%s %#x, %d, %d", op, in.K, i+1+int(in.Jt), i+1+int(in.Jf))
}

// Verdict names a SECCOMP_RET_* value: "allow", "errno EPERM", "trace 1", ...
func Verdict(ret uint32) string {
	data := ret & unix.SECCOMP_RET_DATA
	switch ret & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_KILL_PROCESS:
		return "kill process"
	case unix.SECCOMP_RET_KILL_THREAD:
		return "kill thread"
	case unix.SECCOMP_RET_TRAP:
		return "trap"
	case unix.SECCOMP_RET_ERRNO:
		if name := unix.ErrnoName(syscall.Errno(data)); name != "" {
			return "errno " + name
		}
		return fmt.Sprintf("errno %d", data)
	case unix.SECCOMP_RET_USER_NOTIF:
		return "notify"
	case unix.SECCOMP_RET_TRACE:
		return fmt.Sprintf("trace %d", data)
	case unix.SECCOMP_RET_LOG:
		return "log"
	case unix.SECCOMP_RET_ALLOW:
		return "allow"
	}
	return fmt.Sprintf("%#x", ret)
}
