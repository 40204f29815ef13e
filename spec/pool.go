package spec

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec/wire"
)

// pool holds in one piece what most configurations have one of, and room for
// their usual arrays. In a process that has just begun, the first allocation of
// each size costs one or two page faults: with the pool, loading takes about a
// quarter less.
type pool struct {
	reader wire.Reader
	bundle Bundle
	spec   specs.Spec
	taken  uint32 // bit n: the nth of what follows is in use

	hooks        specs.Hooks
	linux        specs.Linux
	blockIO      specs.LinuxBlockIO
	cpu          specs.LinuxCPU
	capabilities specs.LinuxCapabilities
	memory       specs.LinuxMemory
	pids         specs.LinuxPids
	resources    specs.LinuxResources
	seccomp      specs.LinuxSeccomp
	process      specs.Process
	root         specs.Root

	mounts     [16]specs.Mount
	namespaces [8]specs.LinuxNamespace
	rlimits    [2]specs.POSIXRlimit
	devices    [16]specs.LinuxDeviceCgroup
	syscalls   [16]specs.LinuxSyscall
}

// take marks a member of the reader's pool as used, and says whether there is a
// pool and the member was free.
func take(r *wire.Reader, n int) (*pool, bool) {
	p, _ := r.Pool.(*pool)
	if p == nil || p.taken&(1<<n) != 0 {
		return nil, false
	}
	p.taken |= 1 << n
	return p, true
}

func takeHooks(r *wire.Reader) *specs.Hooks {
	if p, ok := take(r, 0); ok {
		return &p.hooks
	}
	return new(specs.Hooks)
}

func takeLinux(r *wire.Reader) *specs.Linux {
	if p, ok := take(r, 1); ok {
		return &p.linux
	}
	return new(specs.Linux)
}

func takeLinuxBlockIO(r *wire.Reader) *specs.LinuxBlockIO {
	if p, ok := take(r, 2); ok {
		return &p.blockIO
	}
	return new(specs.LinuxBlockIO)
}

func takeLinuxCPU(r *wire.Reader) *specs.LinuxCPU {
	if p, ok := take(r, 3); ok {
		return &p.cpu
	}
	return new(specs.LinuxCPU)
}

func takeLinuxCapabilities(r *wire.Reader) *specs.LinuxCapabilities {
	if p, ok := take(r, 4); ok {
		return &p.capabilities
	}
	return new(specs.LinuxCapabilities)
}

func takeLinuxMemory(r *wire.Reader) *specs.LinuxMemory {
	if p, ok := take(r, 5); ok {
		return &p.memory
	}
	return new(specs.LinuxMemory)
}

func takeLinuxPids(r *wire.Reader) *specs.LinuxPids {
	if p, ok := take(r, 6); ok {
		return &p.pids
	}
	return new(specs.LinuxPids)
}

func takeLinuxResources(r *wire.Reader) *specs.LinuxResources {
	if p, ok := take(r, 7); ok {
		return &p.resources
	}
	return new(specs.LinuxResources)
}

func takeLinuxSeccomp(r *wire.Reader) *specs.LinuxSeccomp {
	if p, ok := take(r, 8); ok {
		return &p.seccomp
	}
	return new(specs.LinuxSeccomp)
}

func takeProcess(r *wire.Reader) *specs.Process {
	if p, ok := take(r, 9); ok {
		return &p.process
	}
	return new(specs.Process)
}

func takeRoot(r *wire.Reader) *specs.Root {
	if p, ok := take(r, 10); ok {
		return &p.root
	}
	return new(specs.Root)
}

func takeMounts(r *wire.Reader) []specs.Mount {
	if p, ok := take(r, 11); ok {
		return p.mounts[:0]
	}
	return nil
}

func takeNamespaces(r *wire.Reader) []specs.LinuxNamespace {
	if p, ok := take(r, 12); ok {
		return p.namespaces[:0]
	}
	return nil
}

func takeRlimits(r *wire.Reader) []specs.POSIXRlimit {
	if p, ok := take(r, 13); ok {
		return p.rlimits[:0]
	}
	return nil
}

func takeSyscalls(r *wire.Reader) []specs.LinuxSyscall {
	if p, ok := take(r, 14); ok {
		return p.syscalls[:0]
	}
	return nil
}

func takeDevices(r *wire.Reader) []specs.LinuxDeviceCgroup {
	if p, ok := take(r, 15); ok {
		return p.devices[:0]
	}
	return nil
}
