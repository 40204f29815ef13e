package libvserver

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

// newProcess is the process to run: that of the file, or the container's own (nil if it has none) with the flags'
// changes. What the file leaves open is as in the container's own process, as with runc.
func (e *execution) newProcess(own *specs.Process) (*specs.Process, error) {
	if own == nil {
		own = &specs.Process{Cwd: "/"}
	}
	if e.o.ProcessFile != "" {
		raw, err := os.ReadFile(e.o.ProcessFile)
		if err != nil {
			return nil, err
		}
		p, err := spec.ParseProcess(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.o.ProcessFile, err)
		}
		inherit(p, own)
		return p, nil
	}
	p := *own
	if err := e.flags(&p); err != nil {
		return nil, err
	}
	return &p, nil
}

func inherit(p, own *specs.Process) {
	if p.Capabilities == nil {
		p.Capabilities = own.Capabilities
	}
	if p.ApparmorProfile == "" {
		p.ApparmorProfile = own.ApparmorProfile
	}
	if p.SelinuxLabel == "" {
		p.SelinuxLabel = own.SelinuxLabel
	}
	if len(p.Rlimits) == 0 {
		p.Rlimits = own.Rlimits
	}
	if p.IOPriority == nil {
		p.IOPriority = own.IOPriority
	}
	if p.Scheduler == nil {
		p.Scheduler = own.Scheduler
	}
	if p.ExecCPUAffinity == nil {
		p.ExecCPUAffinity = own.ExecCPUAffinity
	}
	if p.OOMScoreAdj == nil {
		p.OOMScoreAdj = own.OOMScoreAdj
	}
	if p.User.Umask == nil {
		p.User.Umask = own.User.Umask
	}
}

// flags changes a process as the command line says. The slices of p are the configuration's: they are not written to.
func (e *execution) flags(p *specs.Process) error {
	o := e.o
	switch {
	case o.Shell:
		if err := e.shell(p); err != nil {
			return err
		}
	case len(o.Args) == 0:
		return errors.New("exec args cannot be empty")
	default:
		p.Args = o.Args
	}
	if o.Cwd != "" {
		p.Cwd = o.Cwd
	}
	if !path.IsAbs(p.Cwd) {
		//lint:ignore ST1005 the words are runc's
		return errors.New("Cwd must be an absolute path")
	}
	if o.AppArmor != "" {
		p.ApparmorProfile = o.AppArmor
	}
	if o.ProcessLabel != "" {
		p.SelinuxLabel = o.ProcessLabel
	}
	if len(o.Caps) > 0 {
		if err := addCaps(p, o.Caps); err != nil {
			return err
		}
	}
	for _, v := range o.Env {
		if strings.IndexByte(v, '=') < 1 {
			return fmt.Errorf("--env: %q is not NAME=VALUE", v)
		}
	}
	p.Env = slices.Concat(p.Env, o.Env)
	p.Terminal = o.Tty
	if o.NoNewPrivs != nil {
		p.NoNewPrivileges = *o.NoNewPrivs
	}
	if o.User != "" {
		if err := e.user(p); err != nil {
			return err
		}
	}
	p.User.AdditionalGids = slices.Concat(p.User.AdditionalGids, o.AdditionalGids)
	return nil
}

// addCaps grants capabilities as runc does: not as inheritable ones, which would let any file's inheritable set take
// effect (CVE-2022-29162), and as ambient only where the configuration has inheritable ones by itself.
func addCaps(p *specs.Process, names []string) error {
	var c specs.LinuxCapabilities
	if p.Capabilities != nil {
		c = *p.Capabilities
	}
	for _, n := range names {
		if _, ok := spec.Capability(n); !ok {
			return fmt.Errorf("--cap: unknown capability %q", n)
		}
	}
	c.Bounding, c.Effective, c.Permitted = slices.Concat(c.Bounding, names), slices.Concat(c.Effective, names), slices.Concat(c.Permitted, names)
	if c.Inheritable != nil {
		c.Ambient = slices.Concat(c.Ambient, names)
	}
	p.Capabilities = &c
	return nil
}

// shell makes the process a login shell: its first argument begins with a dash.
func (e *execution) shell(p *specs.Process) error {
	root := e.rootFD()
	if root < 0 {
		return errors.New("the container's root directory cannot be opened")
	}
	for _, name := range [...]string{"bash", "ash", "sh"} {
		for _, dir := range [...]string{"/bin", "/usr/bin", "/usr/local/bin"} {
			how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
			fd, err := unix.Openat2(root, dir[1:]+"/"+name, how)
			if err != nil {
				continue
			}
			var st unix.Stat_t
			err = unix.Fstat(fd, &st)
			unix.Close(fd)
			if err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
				p.Args, e.path = []string{"-" + name}, dir+"/"+name
				return nil
			}
		}
	}
	return errors.New("the container has no shell: neither bash nor ash nor sh in /bin, /usr/bin or /usr/local/bin")
}

// rootFD is the root directory of the container's first process, opened once; -1 if it cannot be.
func (e *execution) rootFD() int {
	if e.root >= 0 {
		return e.root
	}
	fd, err := unix.Open("/proc/"+itoa(e.rec.InitPid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1
	}
	// Not another process's of the same pid, as the one that is held has not been waited for.
	if e.init.Signal(0) != nil {
		unix.Close(fd)
		return -1
	}
	e.root = fd
	return fd
}
