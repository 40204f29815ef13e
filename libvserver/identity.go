package libvserver

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec"
)

// needsNamespace refuses what can come to nothing: any other user than root needs a user namespace to be root of.
func needsNamespace(s *specs.Spec) error {
	if _, listed := spec.Namespace(s, specs.UserNamespace); listed || os.Geteuid() == 0 {
		return nil
	}
	return errors.New("config.json: linux.namespaces: without root's privileges a container requires a user namespace (vsrun spec --rootless makes such a configuration)")
}

// identify gives a process in a new user namespace what only the runtime's privileges can, and its ids.
func (n *creation) identify() error {
	if err := n.fromOutside(); err != nil {
		return err
	}
	if p := n.bundle.Spec.Process; p != nil && !p.Terminal {
		if uid, ok := spec.MapID(n.bundle.Spec.Linux.UIDMappings, p.User.UID); ok {
			ownStdio(uid, n.stays)
		}
	}
	return writeIDMaps(n.process.PID, &n.plan.Clone)
}

// ownStdio gives the standard streams to a user of the container, by its id on the host: else it could not open
// /dev/stdout and the like, and in a user namespace the process can't give itself streams of the host's users. Errors
// never stop a program that does not care, and only pipes and files are given away; files only where the runtime stays,
// as with runc, which puts pipes in between.
func ownStdio(uid uint32, stays bool) {
	caps, err := host.OwnCaps()
	if err != nil || !caps.Has(unix.CAP_CHOWN) {
		return
	}
	for fd := range 3 {
		var st unix.Stat_t
		if unix.Fstat(fd, &st) != nil || st.Uid == uid {
			continue
		}
		if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFIFO || kind == unix.S_IFREG && stays {
			_ = unix.Fchown(fd, int(uid), -1)
		}
	}
}

// hostID is the "uid" or "gid" outside for one inside of the user namespace that a process is in.
func hostID(pid int, kind string, id uint32) (uint32, bool) {
	text, err := os.ReadFile("/proc/" + itoa(pid) + "/" + kind + "_map")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		var n [3]uint64
		for i, f := range strings.Fields(line) {
			n[i], _ = strconv.ParseUint(f, 10, 32)
		}
		if uint64(id) >= n[0] && uint64(id)-n[0] < n[2] {
			return uint32(uint64(id) - n[0] + n[1]), true
		}
	}
	return 0, false
}
