// Package seccomp turns linux.seccomp of config.json into a filter program for
// seccomp(2), keeps compiled programs in a cache, and hands the notification
// descriptor to its listener (runtime-spec, config-linux.md, "Seccomp").
//
// It is part of the hot binary: no cgo, no libseccomp (vsrun-helper has that
// and is started on a cache miss only), nothing at init. It never loads a
// filter: the launch executor does, with the bytes that it gets from here.
package seccomp

import (
	"fmt"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/helper"
	"github.com/vsrun/vsrun/libvserver/seccomp/wire"
)

// maxInsns is the longest program that the kernel takes (BPF_MAXINSNS).
const maxInsns = 4096

// insnSize is the size of struct sock_filter in bytes.
const insnSize = 8

// Program is a compiled filter and how to load it:
//
//	seccomp(SECCOMP_SET_MODE_FILTER, Flags, &sock_fprog{len(Insns)/8, &Insns[0]})
//
// which needs no_new_privs or CAP_SYS_ADMIN in the process's user namespace.
type Program struct {
	// Insns is an array of struct sock_filter in the machine's byte order.
	Insns []byte
	// Flags are SECCOMP_FILTER_FLAG_*. SECCOMP_FILTER_FLAG_TSYNC is never
	// among them, also when the profile names it: the filter is loaded by a
	// process of one thread, where it means nothing.
	Flags uint32
	// Notify says that a rule has the action SCMP_ACT_NOTIFY: Flags holds
	// SECCOMP_FILTER_FLAG_NEW_LISTENER, seccomp(2) returns a descriptor, and
	// that has to be sent to linux.seccomp.listenerPath (SendListener).
	Notify bool
	// Cached says that the program was found in the cache.
	Cached bool
	// CacheErr says why the cache was not used or not written; the program is
	// good all the same. To be logged as a warning.
	CacheErr error

	unknown []byte
}

// Unknown returns the names in the profile that libseccomp does not know and
// that therefore have no rule. That is normal for profiles that serve several
// kernels (runc logs them at debug level): calls newer than every known one
// return ENOSYS.
func (p *Program) Unknown() []string {
	var names []string
	rest := p.unknown
	for i := 0; i < len(rest); i++ {
		if rest[i] == 0 {
			names = append(names, string(rest[:i]))
			rest, i = rest[i+1:], -1
		}
	}
	return names
}

// runHelper starts the compiler; tests count its calls.
var runHelper = helper.Run

// Filter compiles a profile, or takes the program from the cache in cacheDir
// ("" for no cache). The directory is made if its parent exists; it is not used
// if anybody but the caller's effective user owns it or may write to it.
//
// A nil profile, and one that says nothing at all, give a nil program: no
// filter is to be loaded. The meaning of a profile is runc's, but for faults
// that runc lets pass: an errno for an action that takes none, a number that
// does not fit, listenerMetadata without listenerPath, SCMP_ACT_NOTIFY without
// listenerPath. Errors name their place in config.json.
func Filter(p *specs.LinuxSeccomp, cacheDir string) (*Program, error) {
	if p == nil || p.DefaultAction == "" && len(p.Syscalls) == 0 {
		return nil, nil
	}
	request, notify, err := encode(p)
	if err != nil {
		return nil, err
	}
	prog := &Program{Notify: notify}
	if prog.Flags, err = filterFlags(p.Flags, notify); err != nil {
		return nil, err
	}
	if cacheDir == "" {
		return prog.compiled(request)
	}
	id, err := helper.ID()
	if err != nil {
		return nil, fmt.Errorf("linux.seccomp: %w", err)
	}
	// The key is everything that the program depends on, in full. The kernel
	// is not: no action or jump of the program is chosen by its version.
	key := append(request, id...)
	key = append(key, 0)
	key = append(key, runtime.GOARCH...)

	c, err := openCache(cacheDir)
	if err != nil {
		prog.CacheErr = err
		return prog.compiled(request)
	}
	if c != nil {
		defer c.close()
		if prog.Insns, prog.unknown = c.load(key); prog.Insns != nil {
			prog.Cached = true
			return prog, nil
		}
	}
	if _, err := prog.compiled(request); err != nil {
		return nil, err
	}
	prog.CacheErr = saveProgram(c, cacheDir, key, prog)
	return prog, nil
}

// saveProgram writes a new program to the cache, which it makes if need be.
func saveProgram(c *cache, dir string, key []byte, prog *Program) error {
	if c == nil {
		var err error
		if c, err = createCache(dir); err != nil {
			return err
		}
		defer c.close()
	}
	return c.save(key, prog.Insns, prog.unknown)
}

// compiled has the helper compile the request, and returns p filled in.
func (p *Program) compiled(request []byte) (*Program, error) {
	answer, err := runHelper("seccomp", request)
	if err != nil {
		return nil, fmt.Errorf("compile the seccomp filter: %w", err)
	}
	p.Insns, p.unknown, err = wire.DecodeAnswer(answer)
	if err != nil {
		return nil, fmt.Errorf("compile the seccomp filter: answer of %s: %w", helper.Name, err)
	}
	if !validLength(len(p.Insns)) {
		return nil, fmt.Errorf("linux.seccomp: the filter has %d instructions, the kernel takes 1 to %d", len(p.Insns)/insnSize, maxInsns)
	}
	return p, nil
}

func validLength(n int) bool {
	return n > 0 && n%insnSize == 0 && n/insnSize <= maxInsns
}

// filterFlags makes the flags for seccomp(2). As runc: no "flags" in the
// profile means SPEC_ALLOW, an empty list means none.
func filterFlags(names []specs.LinuxSeccompFlag, notify bool) (uint32, error) {
	var flags uint32
	if names == nil {
		flags = unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
	for i, name := range names {
		flag, ok := flagOf(string(name))
		if !ok {
			return 0, fmt.Errorf("linux.seccomp.flags[%d]: unknown flag %q", i, name)
		}
		switch flag {
		case unix.SECCOMP_FILTER_FLAG_TSYNC:
			continue // see Program.Flags
		case unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV:
			// The others are older than every kernel that vsrun runs on.
			if !flagSupported(flag) {
				return 0, fmt.Errorf("linux.seccomp.flags[%d]: %s: not supported by this kernel (needs Linux 5.19)", i, name)
			}
			if !notify {
				continue // about a listener that there is none of: EINVAL
			}
		}
		flags |= flag
	}
	if notify {
		flags |= unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
	}
	return flags, nil
}
