//go:build cgo

package main

import (
	"encoding/binary"
	"syscall"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/wire"
)

// A profile cannot name the system calls of kernels to come, so they would get
// its default action, mostly EPERM: and a C library that tries a new system
// call first takes that for an answer, where ENOSYS makes it fall back. So the
// filter begins with a stub that returns ENOSYS for every number above the
// largest one the profile names, on each architecture. The rule is runc's
// (libcontainer/seccomp/patchbpf); it never allows a call.

const (
	retEnosys = uint32(unix.SECCOMP_RET_ERRNO) | uint32(syscall.ENOSYS)

	offNr   = 0 // struct seccomp_data: int nr
	offArch = 4 // __u32 arch

	// x32Bit is set in the numbers of x32 system calls (__X32_SYSCALL_BIT).
	x32Bit = 0x40000000
	// armPrivate is the first of ARM's private system calls (__ARM_NR_BASE):
	// not a range that new system calls are added to.
	armPrivate = 0x0f0000

	insnSize = 8 // struct sock_filter
)

// sockFilter is struct sock_filter: code, jt, jf, k.
type sockFilter = unix.SockFilter

// section is the part of the stub for one value of seccomp_data.arch.
type section struct {
	audit   uint32
	max     uint32 // the largest number that is not ENOSYS
	x32     bool   // an x86-64 section that has x32 numbers too
	max32   uint32 // the largest x32 number, bit 30 included
	setup   bool   // s390: number 0 stands for every number the kernel does not know
	private bool   // ARM
}

// enosysStub makes the stub, to be put before the filter; nil when none is due.
func (c *compiler) enosysStub() []byte {
	switch d := c.profile.Default; {
	case d.Kind == wire.Allow, d.Kind == wire.Log, d.Kind == wire.Trace:
		// New system calls are permitted; a good tracer knows what to do.
		return nil
	case d.Kind == wire.Errno && d.Data == uint16(syscall.ENOSYS):
		return nil // they get it anyway
	}
	return assemble(c.sections())
}

// sections finds the largest numbers named. An architecture of which the
// profile names no system call at all is left to its filter.
func (c *compiler) sections() []section {
	var secs []section
	for _, a := range c.archs {
		max, ok := c.largest(a.lib)
		if !ok {
			continue
		}
		s := section{audit: a.audit, max: max}
		switch a.lib {
		case libseccomp.ArchS390, libseccomp.ArchS390X:
			s.setup = true
		case libseccomp.ArchARM:
			s.private = true
		case libseccomp.ArchX32:
			s = section{audit: a.audit, x32: true, max32: max}
		}
		secs = merge(secs, s)
	}
	return secs
}

// merge adds s, joining x86-64 and x32, which share their audit number.
func merge(secs []section, s section) []section {
	for i := range secs {
		if secs[i].audit != s.audit {
			continue
		}
		if s.x32 {
			secs[i].x32, secs[i].max32 = true, s.max32
		} else {
			secs[i].max = s.max
		}
		return secs
	}
	return append(secs, s)
}

// largest finds the largest number that the profile names, in any rule.
func (c *compiler) largest(arch libseccomp.ScmpArch) (max uint32, ok bool) {
	for i := range c.profile.Groups {
		for _, name := range c.profile.Groups[i].Names {
			nr, err := libseccomp.GetSyscallFromNameByArch(name, arch)
			if err != nil || nr < 0 || arch == libseccomp.ArchARM && nr >= armPrivate {
				continue // unknown, or not a call of this architecture
			}
			if uint32(nr) >= max {
				max, ok = uint32(nr), true
			}
		}
	}
	return max, ok
}

// assemble writes the stub: a chain of sections, each reached if the one before
// is not for the call's architecture, each leaving for the filter by a jump,
// which can be long; every other jump stays within its section.
func assemble(secs []section) []byte {
	if len(secs) == 0 {
		return nil
	}
	prog := []sockFilter{load(offArch)}
	var leave []int // jumps to the filter
	for _, s := range secs {
		body := s.code()
		prog = append(prog, jump(unix.BPF_JEQ, s.audit, 0, uint8(len(body)+1)))
		prog = append(prog, body...)
		leave = append(leave, len(prog))
		prog = append(prog, sockFilter{Code: unix.BPF_JMP | unix.BPF_JA})
	}
	for _, i := range leave {
		prog[i].K = uint32(len(prog) - i - 1)
	}
	return encode(prog)
}

// encode gives a program as libseccomp does: an array in the machine's byte order.
func encode(prog []sockFilter) []byte {
	b := make([]byte, 0, len(prog)*insnSize)
	for _, in := range prog {
		b = binary.NativeEndian.AppendUint16(b, in.Code)
		b = append(b, in.Jt, in.Jf)
		b = binary.NativeEndian.AppendUint32(b, in.K)
	}
	return b
}

// code returns ENOSYS, or falls out of its end for the filter to decide.
func (s section) code() []sockFilter {
	enosys := sockFilter{Code: unix.BPF_RET | unix.BPF_K, K: retEnosys}
	switch {
	case s.setup:
		return []sockFilter{
			load(offNr),
			jump(unix.BPF_JEQ, 0, 1, 0),
			jump(unix.BPF_JGT, s.max, 0, 1),
			enosys,
		}
	case s.private:
		return []sockFilter{
			load(offNr),
			jump(unix.BPF_JGE, armPrivate, 2, 0),
			jump(unix.BPF_JGT, s.max, 0, 1),
			enosys,
		}
	case s.x32:
		return []sockFilter{
			load(offNr),
			jump(unix.BPF_JSET, x32Bit, 1, 0),
			jump(unix.BPF_JGT, s.max, 1, 2),
			jump(unix.BPF_JGT, s.max32, 0, 1),
			enosys,
		}
	}
	// Without x32 in the profile, x32 numbers are above every x86-64 one.
	return []sockFilter{
		load(offNr),
		jump(unix.BPF_JGT, s.max, 0, 1),
		enosys,
	}
}

func load(off uint32) sockFilter {
	return sockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: off}
}

func jump(op uint16, k uint32, jt, jf uint8) sockFilter {
	return sockFilter{Code: unix.BPF_JMP | op | unix.BPF_K, Jt: jt, Jf: jf, K: k}
}
