package libvserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec/wire"
)

// descriptorsFile is a list of three names in the directory of images: what the container's standard streams were. Where
// they lead out of the container, restore puts its own in their place: a pipe under the name that the kernel gives it,
// files and terminals of the host under CRIU's (criu(8), --external). The format is runc's, which writes pipes alone.
const descriptorsFile = "descriptors.json"

// stdio names what the container's standard streams are going to be, for a later checkpoint: a pipe from outside has to
// be told from one that a program in the container makes.
func (n *creation) stdio() []string {
	if n.plan.Console.Wanted {
		return nil
	}
	return stdioOf("self")
}

func stdioOf(pid string) []string {
	names := make([]string, 3)
	for i := range names {
		names[i], _ = os.Readlink("/proc/" + pid + "/fd/" + itoa(i))
	}
	return names
}

// streams are a container's standard streams as a checkpoint has to treat them.
type streams struct {
	names    []string // for descriptorsFile
	external []string // for CRIU
}

// outside finds out which of the container's standard streams lead out of it. mounts are those of its mount namespace.
func (c *container) outside(mounts []host.Mount) streams {
	pid := itoa(c.rec.InitPid)
	s := streams{names: stdioOf(pid)}
	for i := range s.names {
		if i < len(c.rec.ExternalDescriptors) && strings.HasPrefix(c.rec.ExternalDescriptors[i], "pipe:") {
			s.names[i] = c.rec.ExternalDescriptors[i]
			continue
		}
		name := externalFile("/proc/"+pid+"/fd/"+itoa(i), fdMount(pid, i), mounts)
		if name == "" {
			continue
		}
		s.names[i] = name
		s.external = append(s.external, name)
	}
	return s
}

// externalFile returns CRIU's name for an open file that is on no mount of the container; "" if it is, or has none.
func externalFile(path string, mount int, mounts []host.Mount) string {
	if mount <= 0 {
		return ""
	}
	for i := range mounts {
		if mounts[i].ID == mount {
			return ""
		}
	}
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return ""
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFCHR:
		if major := unix.Major(st.Rdev); major == 4 || major == 5 || major >= 136 && major < 144 { // terminals
			// With --shell-job, too: a terminal that is not the container's CRIU takes for one of its devpts, and crashes.
			return fmt.Sprintf("tty[%x:%x]", st.Rdev, st.Dev)
		}
	default:
		return ""
	}
	return fmt.Sprintf("file[%x:%x]", mount, st.Ino)
}

// fdMount is the id of the mount that a process's open file is on (proc_pid_fdinfo(5)), 0 if that can't be told.
func fdMount(pid string, fd int) int {
	b, err := os.ReadFile("/proc/" + pid + "/fdinfo/" + itoa(fd))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "mnt_id:"); ok {
			return atoi(strings.TrimSpace(v))
		}
	}
	return 0
}

// atoi reads a number, 0 if it is none.
func atoi(s string) int {
	n := 0
	for _, c := range s {
		if c < '0' || c > '9' || n > 1<<30 {
			return 0
		}
		n = n*10 + int(c-'0')
	}
	return n
}

func (s *streams) write(dir string) error {
	w := wire.NewWriter(nil, "")
	w.Strings(s.names)
	if err := os.WriteFile(filepath.Join(dir, descriptorsFile), w.Bytes(), 0o600); err != nil {
		return fmt.Errorf("--image-path: %w", err)
	}
	return nil
}

// inherited reads which streams restore is to put its own in the place of.
func inherited(dir string) ([]proto.InheritFD, error) {
	b, err := os.ReadFile(filepath.Join(dir, descriptorsFile))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("--image-path: there is no checkpoint in %s: %w", dir, err)
		}
		return nil, fmt.Errorf("--image-path: %w", err)
	}
	r := wire.NewReader(b)
	names := r.Strings()
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("--image-path: %s: %w", descriptorsFile, err)
	}
	var list []proto.InheritFD
	seen := func(name string) bool {
		for _, f := range list {
			if f.Key == name {
				return true
			}
		}
		return false
	}
	for fd, name := range names {
		if fd > 2 || seen(name) {
			continue
		}
		for _, prefix := range [...]string{"pipe:[", "file[", "tty["} {
			if strings.HasPrefix(name, prefix) {
				list = append(list, proto.InheritFD{Key: name, FD: fd})
			}
		}
	}
	return list, nil
}
