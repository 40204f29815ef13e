package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/state"
)

// global are the flags before the command.
type global struct {
	log           log.Options
	root          string
	systemdCgroup bool
	cgroupManager string
	rootless      string
	version       bool
	help          bool
}

func (g *global) define(f *flags) {
	f.bool(&g.log.Debug, "debug", "enable debug logging")
	f.string(&g.log.File, "log", "set the log file to write vsrun logs to (default is '/dev/stderr')")
	g.log.Format = "text"
	f.string(&g.log.Format, "log-format", "set the log format ('text' (default), or 'json')")
	f.string(&g.root, "root", "root directory for storage of container state (this should be located in tmpfs; the default is /run/vsrun, or vsrun in $XDG_RUNTIME_DIR)")
	f.bool(&g.systemdCgroup, "systemd-cgroup", `enable systemd cgroup support, expects cgroupsPath to be of form "slice:prefix:name" for e.g. "system.slice:vsrun:434234"`)
	f.string(&g.cgroupManager, "cgroup-manager", "what makes cgroups: 'cgroupfs', 'systemd' (as --systemd-cgroup), or 'disabled'")
	g.rootless = "auto"
	f.string(&g.rootless, "rootless", "ignore cgroup permission errors ('true', 'false', or 'auto')")
	f.bool(&g.help, "help, h", "show help")
	f.bool(&g.version, "version, v", "print the version")
	f.bool(&g.version, "V", "") // crun's
}

// check rejects values that no command takes.
func (g *global) check() error {
	switch g.cgroupManager {
	case "", "cgroupfs", "disabled":
	case "systemd":
		g.systemdCgroup = true
	default:
		return fmt.Errorf("--cgroup-manager: unknown manager %q: cgroupfs, systemd or disabled", g.cgroupManager)
	}
	if g.rootless == "" || strings.EqualFold(g.rootless, "auto") {
		g.rootless = "auto"
		return nil
	}
	yes, err := strconv.ParseBool(g.rootless)
	if err != nil {
		return fmt.Errorf("--rootless: unknown value %q: true, false or auto", g.rootless)
	}
	g.rootless = strconv.FormatBool(yes)
	return nil
}

// store opens the directory of containers.
func (g *global) store() (*state.Store, error) {
	s, err := state.Open(g.root)
	if err == nil && s.Root() == "/" {
		return nil, errors.New("--root must not be /")
	}
	return s, err
}
