package libvserver

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// rdtGroup is the class of service of a container in resctrl, and its monitoring group (config-linux.md, "IntelRdt").
type rdtGroup struct {
	cfg *specs.LinuxIntelRdt
	dir string // of the class of service
	mon string // of the monitoring group, "" for none
	// made: the directory is not there before.
	made bool
	done []string // what make has made, the last first
}

// newRdtGroup looks what is there in the resctrl filesystem mounted on root, and makes nothing.
func newRdtGroup(root string, cfg *specs.LinuxIntelRdt, id string) (*rdtGroup, error) {
	g := &rdtGroup{cfg: cfg, dir: root + "/" + id}
	switch cfg.ClosID {
	case "":
	case "/":
		g.dir = root
	default:
		g.dir = root + "/" + cfg.ClosID
	}
	err := unix.Access(g.dir, unix.F_OK)
	switch {
	case err == nil:
		if cfg.ClosID != "" {
			err = g.matches()
		}
	case !errors.Is(err, unix.ENOENT):
		err = fmt.Errorf("linux.intelRdt: %w", &os.PathError{Op: "access", Path: g.dir, Err: err})
	case cfg.ClosID != "" && !g.schemas():
		err = fmt.Errorf("linux.intelRdt.closID: %s is not there, and no schema says what to make it with", g.dir)
	default:
		g.made, err = true, nil
	}
	if err != nil {
		return nil, err
	}
	if cfg.EnableMonitoring {
		g.mon = g.dir + "/mon_groups/" + id
	}
	return g, nil
}

func (g *rdtGroup) schemas() bool {
	return g.cfg.L3CacheSchema != "" || g.cfg.MemBwSchema != "" || len(g.cfg.Schemata) > 0
}

// make makes the directories that are missing, and writes the schemata in the order of the spec.
func (g *rdtGroup) make() error {
	if g.made {
		if err := os.Mkdir(g.dir, 0o755); err != nil {
			return fmt.Errorf("linux.intelRdt: %w", err)
		}
		g.done = []string{g.dir}
	}
	if g.schemas() {
		lines := ""
		for _, s := range append([]string{g.cfg.L3CacheSchema, g.cfg.MemBwSchema}, g.cfg.Schemata...) {
			if s != "" {
				lines += s + "\n"
			}
		}
		if err := writeSchemata(g.dir+"/schemata", lines); err != nil {
			return fmt.Errorf("linux.intelRdt: %w", err)
		}
	}
	if g.mon != "" {
		if err := os.Mkdir(g.mon, 0o755); err != nil {
			return fmt.Errorf("linux.intelRdt.enableMonitoring: %w", err)
		}
		g.done = append([]string{g.mon}, g.done...)
	}
	return nil
}

// goes tells which directories go with the container: the monitoring group, and the class of service if it has been made for
// this container alone.
func (g *rdtGroup) goes() (mon, group string) {
	if g.made && g.cfg.ClosID == "" {
		group = g.dir
	}
	return g.mon, group
}

// add puts a process into the groups; its children will be born there.
func (g *rdtGroup) add(pid int) error {
	for _, dir := range [...]string{g.dir, g.mon} {
		if dir == "" {
			continue
		}
		f, err := os.OpenFile(dir+"/tasks", os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString(itoa(pid))
			if e := f.Close(); err == nil {
				err = e
			}
		}
		if err != nil {
			return fmt.Errorf("linux.intelRdt: %w", err)
		}
	}
	return nil
}

// removeRdt removes groups, the innermost first; its processes go to the group above.
func removeRdt(dirs ...string) error {
	for _, dir := range dirs {
		if dir == "" {
			continue
		}
		if err := unix.Rmdir(dir); err != nil && err != unix.ENOENT {
			return &os.PathError{Op: "rmdir", Path: dir, Err: err}
		}
	}
	return nil
}

// matches compares the schemas for cache and bandwidth with those of a class of service that is there already.
func (g *rdtGroup) matches() error {
	if g.cfg.L3CacheSchema == "" && g.cfg.MemBwSchema == "" {
		return nil
	}
	text, err := os.ReadFile(g.dir + "/schemata")
	if err != nil {
		return fmt.Errorf("linux.intelRdt: %w", err)
	}
	there := map[string]uint64{}
	for line := range strings.Lines(string(text)) {
		if err := schemaValues(line, func(key string, v uint64) { there[key] = v }); err != nil {
			return fmt.Errorf("linux.intelRdt: %s/schemata: %w", g.dir, err)
		}
	}
	for _, s := range [...]struct{ path, schema string }{
		{"linux.intelRdt.l3CacheSchema", g.cfg.L3CacheSchema}, {"linux.intelRdt.memBwSchema", g.cfg.MemBwSchema},
	} {
		same := true
		if err := schemaValues(s.schema, func(key string, v uint64) {
			have, ok := there[key]
			same = same && ok && have == v
		}); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		if !same {
			return fmt.Errorf("%s: %q is not what %s/schemata has: %q", s.path, s.schema, g.dir, strings.TrimSpace(string(text)))
		}
	}
	return nil
}

// schemaValues takes a line of schemata apart: "L3:0=7f0;1=1f" are L3:0, a bit mask in hex, and L3:1. Bandwidths are decimal.
func schemaValues(line string, value func(key string, v uint64)) error {
	line = strings.TrimSpace(line)
	if line == "" {
		return nil
	}
	resource, list, ok := strings.Cut(line, ":")
	if !ok {
		return fmt.Errorf("%q is not of the form L3:0=ff;1=ff", line)
	}
	resource = strings.TrimSpace(resource)
	base := 16
	if strings.HasPrefix(resource, "MB") {
		base = 10
	}
	for part := range strings.SplitSeq(list, ";") {
		id, number, ok := strings.Cut(strings.TrimSpace(part), "=")
		v, err := strconv.ParseUint(strings.TrimSpace(number), base, 64) // the kernel pads it
		if !ok || err != nil {
			return fmt.Errorf("%q is not of the form L3:0=ff;1=ff", line)
		}
		value(resource+":"+strings.TrimSpace(id), v)
	}
	return nil
}

// findRdt prepares the container's groups, if it is to have some.
func (n *creation) findRdt() error {
	l := n.bundle.Spec.Linux
	if l == nil || l.IntelRdt == nil {
		return nil
	}
	root := resctrlRoot()
	if root == "" {
		return errors.New("linux.intelRdt: needs a mounted resctrl filesystem, usually on " + resctrlUsual)
	}
	var err error
	if n.rdt, err = newRdtGroup(root, l.IntelRdt, n.o.ID); err != nil {
		return err
	}
	n.hooks.RdtMon, n.hooks.RdtGroup = n.rdt.goes()
	return nil
}
