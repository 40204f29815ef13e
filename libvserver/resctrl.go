package libvserver

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
)

// resctrlUsual is where the resctrl filesystem is by convention (x86/resctrl.rst).
const resctrlUsual = "/sys/fs/resctrl"

// resctrlRoot is where a resctrl filesystem is mounted, "" if there is none.
func resctrlRoot() string {
	var st unix.Statfs_t
	if err := unix.Statfs(resctrlUsual, &st); err == nil && st.Type == unix.RDTGROUP_SUPER_MAGIC {
		return resctrlUsual
	}
	mounts, err := host.Mounts("self")
	if err != nil {
		return ""
	}
	return mountOf("resctrl", mounts)
}

// mountOf finds the first whole mount of a filesystem.
func mountOf(fs string, mounts []host.Mount) string {
	for _, m := range mounts {
		if m.Type == fs && m.Root == "/" {
			return m.Point
		}
	}
	return ""
}

// setResctrl writes schemata lines for the group of a container: Intel's cache allocation (CAT) and memory bandwidth
// allocation (MBA). undo puts the old lines back.
func setResctrl(group, l3, mb string) (undo func() error, err error) {
	undo = func() error { return nil }
	if l3 == "" && mb == "" {
		return undo, nil
	}
	for _, s := range [...]struct{ flag, schema, info, what string }{
		{"--l3-cache-schema", l3, "L3", "Intel RDT/CAT: l3 cache schema is not enabled"},
		{"--mem-bw-schema", mb, "MB", "Intel RDT/MBA: memory bandwidth schema is not enabled"},
	} {
		if s.schema == "" {
			continue
		}
		if strings.Contains(s.schema, "\n") {
			return undo, fmt.Errorf("%s: more than one line", s.flag)
		}
		if why := resctrlLacks(s.info); why != "" {
			return undo, errors.New(s.what + " (" + s.flag + " needs " + why + ")")
		}
	}
	if group == "" {
		return undo, errors.New("updating a non-existent Intel RDT configuration is not supported (linux.intelRdt is not in the container's config)")
	}
	file := group + "/schemata"
	old, err := os.ReadFile(file)
	if err != nil {
		return undo, err
	}
	lines := ""
	for _, s := range [...]string{l3, mb} {
		if s != "" {
			lines += s + "\n"
		}
	}
	undo = func() error { return writeSchemata(file, string(old)) }
	if err := writeSchemata(file, lines); err != nil {
		return undo, errors.Join(err, undo())
	}
	return undo, nil
}

// resctrlLacks says what is missing for a resource of resctrl, "" if nothing is.
func resctrlLacks(info string) string {
	root := resctrlRoot()
	if root == "" {
		return "a mounted resctrl filesystem, usually on " + resctrlUsual
	}
	if unix.Access(root+"/info/"+info, unix.F_OK) != nil {
		return root + "/info/" + info + ", which this machine or its kernel has not"
	}
	return ""
}

// writeSchemata writes lines one at a time, as schemata(5) wants none else; the reason of a refusal is in last_cmd_status.
func writeSchemata(file, lines string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	for line := range strings.Lines(lines) {
		if _, err := f.WriteString(strings.TrimSpace(line) + "\n"); err != nil {
			why, _ := os.ReadFile(resctrlRoot() + "/info/last_cmd_status")
			return fmt.Errorf("write %q to %w (%s)", strings.TrimSpace(line), err, strings.TrimSpace(string(why)))
		}
	}
	return nil
}
