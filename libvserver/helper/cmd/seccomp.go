//go:build cgo

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/wire"
)

// treeRules is the number of rules above which libseccomp sorts them into a
// binary tree (libseccomp 2.5). Small filters gain nothing, and up to 2.5.4 the
// tree of an empty filter is broken. The number is runc's.
const treeRules = 32

func versions() []byte {
	major, minor, micro := libseccomp.GetLibraryVersion()
	return fmt.Appendf(nil, "libseccomp %d.%d.%d\n", major, minor, micro)
}

// compileSeccomp turns a request into an answer, both as in package wire.
func compileSeccomp(request []byte) ([]byte, error) {
	p, err := wire.Decode(request)
	if err != nil {
		return nil, fmt.Errorf("seccomp request: %w", err)
	}
	c := compiler{profile: p, def: action(p.Default), known: make(map[string]libseccomp.ScmpSyscall, 512)}
	insns, err := c.compile()
	if err != nil {
		return nil, err
	}
	return wire.AppendAnswer(nil, insns, c.unknown), nil
}

type compiler struct {
	profile *wire.Profile
	def     libseccomp.ScmpAction
	archs   []abi // those in the filter; the native one first
	filter  *libseccomp.ScmpFilter
	rules   int
	known   map[string]libseccomp.ScmpSyscall // native numbers, unknownNr if unknown
	unknown []byte                            // as in the answer
}

// unknownNr is what libseccomp itself returns for a name that it does not know
// (__NR_SCMP_ERROR); other negative numbers are names of another ABI.
const unknownNr = -1

func (c *compiler) compile() ([]byte, error) {
	var err error
	if c.filter, err = libseccomp.NewFilter(c.def); err != nil {
		return nil, fmt.Errorf("linux.seccomp.defaultAction: %w", err)
	}
	if err := c.addArchs(); err != nil {
		return nil, err
	}
	for i := range c.profile.Groups {
		if err := c.addGroup(i, &c.profile.Groups[i]); err != nil {
			return nil, err
		}
	}
	if c.rules > treeRules {
		// An old libseccomp without the tree makes a slower filter, no worse.
		_ = c.filter.SetOptimize(2)
	}
	program, err := c.export()
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp: export filter: %w", err)
	}
	return append(c.enosysStub(), program...), nil
}

func (c *compiler) addArchs() error {
	native, err := libseccomp.GetNativeArch()
	if err != nil {
		return fmt.Errorf("linux.seccomp: %w", err)
	}
	for i := range abis {
		if abis[i].lib == native {
			c.archs = append(c.archs, abis[i])
		}
	}
	for i, a := range c.profile.Archs {
		t := abis[a]
		if t.lib == native {
			continue // NewFilter has added it
		}
		// An architecture newer than this libseccomp, or of the other byte
		// order (EDOM), is one whose system calls cannot be made here.
		if !libraryKnows(t.lib) {
			continue
		}
		if err := c.filter.AddArch(t.lib); errors.Is(err, syscall.EDOM) {
			continue
		} else if err != nil {
			return fmt.Errorf("linux.seccomp.architectures[%d]: %w", i, err)
		}
		c.archs = append(c.archs, t)
	}
	return nil
}

// libraryKnows reports whether the libseccomp linked in has the architecture.
func libraryKnows(a libseccomp.ScmpArch) bool {
	_, err := libseccomp.GetSyscallFromNameByArch("read", a)
	return err == nil
}

// addGroup adds the rules of one entry of linux.seccomp.syscalls, as runc does.
func (c *compiler) addGroup(i int, g *wire.Group) error {
	act := action(g.Action)
	if act == c.def {
		return nil // libseccomp refuses such a rule: it would change nothing
	}
	sets := conditions(g.Conds)
	for _, name := range g.Names {
		nr, ok := c.resolve(name)
		if !ok {
			continue
		}
		for _, conds := range sets {
			var err error
			if len(conds) == 0 {
				err = c.filter.AddRule(nr, act)
			} else {
				err = c.filter.AddRuleConditional(nr, act, conds)
			}
			if err != nil {
				return fmt.Errorf("linux.seccomp.syscalls[%d]: add a rule for %s: %w", i, name, err)
			}
			c.rules++
		}
	}
	return nil
}

// resolve gives the native number of a system call, or a negative pseudo number
// of libseccomp's if only another ABI has it. A name that libseccomp does not
// know is noted and skipped: profiles name system calls of every kernel.
func (c *compiler) resolve(name string) (libseccomp.ScmpSyscall, bool) {
	nr, seen := c.known[name]
	if !seen {
		var err error
		if nr, err = libseccomp.GetSyscallFromName(name); err != nil {
			nr = unknownNr
			c.unknown = append(append(c.unknown, name...), 0)
		}
		c.known[name] = nr
	}
	return nr, nr != unknownNr
}

// conditions makes the condition lists of a group's rules. Conditions of one
// rule are joined by "and", but libseccomp takes only one for each argument:
// when an argument has several, each condition becomes a rule of its own (so
// they are joined by "or"), which is what runc has always done.
func conditions(conds []wire.Cond) [][]libseccomp.ScmpCondition {
	all := make([]libseccomp.ScmpCondition, len(conds))
	var seen [6]bool
	split := false
	for i, c := range conds {
		all[i] = libseccomp.ScmpCondition{
			Argument: uint(c.Index),
			Op:       ops[c.Op],
			Operand1: c.Value,
			Operand2: c.Value2,
		}
		split = split || seen[c.Index]
		seen[c.Index] = true
	}
	if !split {
		return [][]libseccomp.ScmpCondition{all}
	}
	sets := make([][]libseccomp.ScmpCondition, len(all))
	for i := range all {
		sets[i] = all[i : i+1]
	}
	return sets
}

// export gets the program out of libseccomp, which (before 2.6) writes to file
// descriptors only; a program can be longer than a pipe holds.
func (c *compiler) export() ([]byte, error) {
	fd, err := unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC|unix.MFD_NOEXEC_SEAL)
	if err == unix.EINVAL { // before Linux 6.3
		fd, err = unix.MemfdCreate("seccomp", unix.MFD_CLOEXEC)
	}
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "seccomp")
	defer f.Close()
	if err := c.filter.ExportBPF(f); err != nil {
		return nil, err
	}
	size, err := unix.Seek(fd, 0, unix.SEEK_CUR)
	if err != nil {
		return nil, err
	}
	if size == 0 || size%insnSize != 0 {
		return nil, errors.New("libseccomp wrote " + strconv.FormatInt(size, 10) + " bytes, which is no program")
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return nil, err
	}
	return b, nil
}

var kinds = [...]libseccomp.ScmpAction{
	wire.KillThread:  libseccomp.ActKillThread,
	wire.KillProcess: libseccomp.ActKillProcess,
	wire.Trap:        libseccomp.ActTrap,
	wire.Errno:       libseccomp.ActErrno,
	wire.Trace:       libseccomp.ActTrace,
	wire.Allow:       libseccomp.ActAllow,
	wire.Log:         libseccomp.ActLog,
	wire.Notify:      libseccomp.ActNotify,
}

func action(a wire.Action) libseccomp.ScmpAction {
	// SetReturnCode leaves actions without data as they are.
	return kinds[a.Kind].SetReturnCode(int16(a.Data))
}

var ops = [...]libseccomp.ScmpCompareOp{
	wire.NotEqual:     libseccomp.CompareNotEqual,
	wire.Less:         libseccomp.CompareLess,
	wire.LessEqual:    libseccomp.CompareLessOrEqual,
	wire.Equal:        libseccomp.CompareEqual,
	wire.GreaterEqual: libseccomp.CompareGreaterEqual,
	wire.Greater:      libseccomp.CompareGreater,
	wire.MaskedEqual:  libseccomp.CompareMaskedEqual,
}
