package libvserver

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// writeIDMaps gives a new user namespace its maps (user_namespaces(7)). Without privilege, maps of more than the caller's
// own ids go through newuidmap(1) and newgidmap(1), which know /etc/subuid and /etc/subgid.
func writeIDMaps(pid int, c *plan.Clone) error {
	proc := "/proc/" + strconv.Itoa(pid)
	euid, egid := os.Geteuid(), os.Getegid()
	if euid != 0 && !own(c.UIDs, euid) {
		if err := mapHelper("newuidmap", pid, c.UIDs); err != nil {
			return fmt.Errorf("linux.uidMappings: %w", err)
		}
	} else if err := writeMap(proc+"/uid_map", c.UIDs); err != nil {
		return fmt.Errorf("linux.uidMappings: %w", err)
	}
	if euid != 0 && !own(c.GIDs, egid) {
		if err := mapHelper("newgidmap", pid, c.GIDs); err != nil {
			return fmt.Errorf("linux.gidMappings: %w", err)
		}
		return nil
	}
	if euid != 0 {
		if err := writeFile(proc+"/setgroups", "deny"); err != nil {
			return fmt.Errorf("linux.gidMappings: %w", err)
		}
	}
	if err := writeMap(proc+"/gid_map", c.GIDs); err != nil {
		return fmt.Errorf("linux.gidMappings: %w", err)
	}
	return nil
}

// own tells if a map is just the caller's own id, which needs no helper.
func own(m []plan.IDMap, id int) bool {
	return len(m) == 1 && m[0].Size == 1 && m[0].Host == uint32(id)
}

func writeMap(file string, m []plan.IDMap) error {
	var b []byte
	for _, e := range m {
		b = fmt.Appendf(b, "%d %d %d\n", e.Container, e.Host, e.Size)
	}
	return writeFile(file, string(b))
}

func writeFile(file, data string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(data)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

func mapHelper(name string, pid int, m []plan.IDMap) error {
	args := []string{strconv.Itoa(pid)}
	for _, e := range m {
		args = append(args, strconv.FormatUint(uint64(e.Container), 10), strconv.FormatUint(uint64(e.Host), 10), strconv.FormatUint(uint64(e.Size), 10))
	}
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s (are the ids in /etc/subuid and /etc/subgid?)", name, err, out)
	}
	return nil
}
