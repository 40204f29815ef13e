package libvserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu"
	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// cgroupRoots are the cgroups that a process is in, by controller: what is restored is put below them.
func cgroupRoots(pid int) ([]proto.Pair, error) {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/cgroup")
	if err != nil {
		return nil, err
	}
	var list []proto.Pair
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // cgroups(7)
		if len(f) < 3 {
			continue
		}
		for ctl := range strings.SplitSeq(f[1], ",") {
			list = append(list, proto.Pair{Key: ctl, Val: f[2]})
		}
	}
	return list, nil
}

// describe tells CRIU of everything that is not in the images, and returns descriptors for it, also with an error.
func (s *restoration) describe(o *proto.Options) (extra []int, err error) {
	o.EvasiveDevices, o.RstSibling = true, true
	o.TCPClose, o.LSMProfile, o.LSMMountContext = s.o.TCPClose, s.o.LSMProfile, s.o.LSMMountContext
	// In a user namespace every mount from outside is in a peer group, and where two are in the same, CRIU's newer way of
	// mounting takes the wrong one for what both belong to: "Failed to copy sharing".
	o.MountsCompat = s.plan.Clone.Has(unix.CLONE_NEWUSER)
	o.ConfigFile = criuConfig(s.rec)
	s.outer = outerMounts(s.plan, privateDir)
	root, err := unix.Open(s.plan.Rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("root.path: %w", &os.PathError{Op: "open", Path: s.plan.Rootfs, Err: err})
	}
	defer unix.Close(root)
	if o.ExtMnt, err = restoreMounts(s.outer, root); err != nil {
		return nil, err
	}
	// The directory of the sd_notify proxy may have been mounted, though there is none any more.
	if err := s.makeNotifyDir(); err != nil {
		return nil, err
	}
	o.ExtMnt = append(o.ExtMnt, proto.Pair{Key: "/run/" + notifyDir, Val: filepath.Join(privateDir, notifyDir)})
	if o.InheritFD, err = inherited(s.dirs.images); err != nil {
		return nil, err
	}
	// CRIU closes what is inherited, and looks for the terminal of a shell's job on its standard input; ours is inherited.
	for _, f := range o.InheritFD {
		o.ShellJob = o.ShellJob && f.FD != 0
	}
	return s.namespaces(o)
}

// namespaces tells CRIU which namespaces to join instead of making them.
func (s *restoration) namespaces(o *proto.Options) (extra []int, err error) {
	for _, n := range s.plan.Clone.Join {
		switch key, _ := externalNamespace(specs.LinuxNamespaceType(n.Name)); {
		case key != "":
			fd, err := unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return extra, fmt.Errorf("%s.path: %w", n.At(), &os.PathError{Op: "open", Path: n.Path, Err: err})
			}
			if n.Flag == unix.CLONE_NEWNET {
				s.netns = fd
			}
			o.InheritFD = append(o.InheritFD, proto.InheritFD{Key: key, FD: criu.FirstExtra + len(extra)})
			extra = append(extra, fd)
		case n.Flag == unix.CLONE_NEWCGROUP:
			return extra, fmt.Errorf("%s: CRIU can't restore a container into a cgroup namespace that exists", n.At())
		default:
			o.JoinNS = append(o.JoinNS, proto.Pair{Key: criuNamespace(n), Val: n.Path})
		}
	}
	return extra, nil
}

// criuNamespace is CRIU's word for a kind of namespace: the kernel's.
func criuNamespace(n plan.Namespace) string {
	if n.Flag == unix.CLONE_NEWNS {
		return "mnt"
	}
	return n.Name
}
