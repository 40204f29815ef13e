package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/vsrun/vsrun/spec"
)

// guest is a configuration in the making.
type guest struct {
	*tree
	name     string
	defaults *tree // .defaults, or an empty one
	s        *specs.Spec
	notes    []string
	asked    []asked
	ping     bool // sockets for ICMP are allowed
}

// asked is an annotation that a file asks for.
type asked struct{ from, key, value string }

// convert makes a config.json of the guest's configuration below dir, and says what could not be taken over.
func convert(dir, name string) (text []byte, notes []string, err error) {
	if name == "" || name[0] == '.' || strings.Contains(name, "/") {
		return nil, nil, fmt.Errorf("%q is not the name of a guest", name)
	}
	t, err := openTree(filepath.Join(dir, name))
	if err != nil {
		return nil, nil, err
	}
	d, err := openTree(filepath.Join(dir, ".defaults"))
	if err != nil {
		d = &tree{dir: filepath.Join(dir, ".defaults"), read: map[string]bool{}}
	}
	g := &guest{tree: t, name: name, defaults: d, s: new(specs.Spec)}
	if err := json.Unmarshal(spec.Template(spec.TemplateOptions{CgroupNamespace: true}), g.s); err != nil {
		return nil, nil, err
	}
	for _, part := range []func(*guest){root, names, process, capabilities, scheduler, context, network, mounts, limits, disk, sysctls, cgroup, scripts, service} {
		part(g)
	}
	g.settle()
	g.leftOver()
	if err := errors.Join(g.errs...); err != nil {
		return nil, nil, err
	}
	text, err = json.MarshalIndent(g.s, "", "\t")
	if err != nil {
		return nil, nil, err
	}
	text = append(bytes.TrimSpace(text), '\n')
	if _, err := spec.Parse(text, dir); err != nil {
		return nil, nil, fmt.Errorf("what came of it is refused: %w", err)
	}
	return text, g.notes, nil
}

func (g *guest) note(format string, args ...any) {
	g.notes = append(g.notes, fmt.Sprintf(format, args...))
}

// annotate asks for an annotation. from is the file where the value stands.
func (g *guest) annotate(from, name, value string) {
	if value != "" {
		g.asked = append(g.asked, asked{from, spec.VServerPrefix + name, value})
	}
}

// settle sets the annotations that were asked for, as far as the runtime takes them together, and notes why not else.
func (g *guest) settle() {
	for before := -1; ; {
		refused := g.refused(g.asked)
		if len(refused) == 0 {
			break
		}
		stuck := len(g.asked) == before
		before = len(g.asked)
		g.asked = slices.DeleteFunc(g.asked, func(a asked) bool {
			msg, ok := refused[a.key]
			// Of a list of flags only those go that are refused by themselves.
			if ok && a.key == spec.VServerPrefix+"context.flags" && !stuck {
				others := slices.DeleteFunc(slices.Clone(g.asked), func(o asked) bool { return o.key == a.key })
				msg, ok = g.refused(append(others, a))[a.key]
			}
			if ok {
				g.note("%s: not taken over: %s: %s", a.from, a.value, msg)
			}
			return ok
		})
	}
	g.s.Annotations = annotations(g.asked)
}

// refused says which of some annotations are refused, and why.
func (g *guest) refused(list []asked) map[string]string {
	try := *g.s
	try.Annotations = annotations(list)
	b, err := json.Marshal(try)
	if err != nil {
		g.errs = append(g.errs, err)
		return nil
	}
	_, err = spec.Parse(b, g.dir)
	var faults spec.Faults
	if !errors.As(err, &faults) {
		return nil
	}
	why := map[string]string{}
	for _, f := range faults {
		for _, a := range list {
			if f.Path == spec.AnnotationPath(strings.TrimPrefix(a.key, spec.VServerPrefix)) {
				why[a.key] = f.Msg
			}
		}
	}
	return why
}

// annotations joins what was asked for more than once.
func annotations(list []asked) map[string]string {
	m := map[string]string{}
	for _, a := range list {
		if before := m[a.key]; before != "" {
			m[a.key] = before + "," + a.value
		} else {
			m[a.key] = a.value
		}
	}
	return m
}

// leftOver notes what nobody has looked at.
func (g *guest) leftOver() {
	for _, name := range g.unread() {
		g.note("%s: not taken over: there is nothing like it", name)
	}
}

// root: the guest's files stay where they are.
func root(g *guest) {
	g.s.Root.Readonly = false
	dir := g.target("vdir")
	if dir == "" {
		base := g.defaults.target("vdirbase")
		if base == "" {
			base = "/vservers"
		}
		dir = filepath.Join(base, g.name)
	}
	g.s.Root.Path = dir
	g.has("run") // a link to where the context id of the running guest stood
	g.has("cache")
	g.has("name")
	g.has("nonamespace") // each has a mount namespace
	g.has("namespace")
}

func names(g *guest) {
	g.s.Hostname = g.name
	for _, n := range g.entries("uts") {
		switch v := g.text("uts/" + n); n {
		case "nodename":
			g.s.Hostname = v
		case "domainname":
			g.s.Domainname = v
		case "context":
		default:
			g.note("uts/%s: not taken over: the kernel tells every container the same %s", n, n)
		}
	}
}

// process is what runs first: the guest's init.
func process(g *guest) {
	p := g.s.Process
	p.Terminal, p.NoNewPrivileges, p.Rlimits = false, false, nil
	p.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=linux"}
	p.Env = append(p.Env, g.lines("apps/init/environment")...)
	level := g.text("apps/init/runlevel.start")
	if level == "" {
		if level = g.text("apps/init/runlevel"); level == "" {
			level = "3"
		}
	}
	stop := g.text("apps/init/runlevel.stop")
	if stop == "" {
		stop = "6"
	}
	switch style := g.text("apps/init/style"); style {
	case "", "sysv":
		// Guests of this style had no init: the runlevel's scripts ran, and what they left behind.
		p.Args = []string{"/bin/sh", "-c", "trap '/etc/init.d/rc " + stop + "; exit 0' TERM INT PWR; /etc/init.d/rc " + level +
			"; while :; do sleep 86400 & wait $!; done"}
	case "plain":
		p.Args = []string{"/sbin/init"}
	default:
		p.Args = []string{"/sbin/init"}
		g.note("apps/init/style: %s: /sbin/init is started, as with plain", style)
	}
	if cmd := g.lines("apps/init/cmd.start"); len(cmd) > 0 {
		p.Args = cmd
	}
	for _, n := range []string{"cmd.stop", "cmd.prepare", "cmd.start-sync", "cmd.stop-sync"} {
		if g.has("apps/init/" + n) {
			g.note("apps/init/%s: not taken over: a container is stopped by a signal", n)
		}
	}
	g.has("apps/init/sync")
	if v := g.text("personality"); v == "linux_32bit" || v == "linux32" {
		g.s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
	} else if v != "" {
		g.note("personality: not taken over: %s", v)
	}
	if v := g.text("nice"); v != "" {
		if n, err := strconv.Atoi(v); err == nil && n >= -20 && n <= 19 {
			p.Scheduler = &specs.Scheduler{Policy: specs.SchedOther, Nice: int32(n)}
		} else {
			g.note("nice: not taken over: %q", v)
		}
	}
	class, prio := g.text("ionice/class"), g.text("ionice/priority")
	if class != "" {
		n, _ := strconv.Atoi(prio)
		classes := map[string]specs.IOPriorityClass{"1": specs.IOPRIO_CLASS_RT, "2": specs.IOPRIO_CLASS_BE, "3": specs.IOPRIO_CLASS_IDLE}
		if c, ok := classes[class]; ok {
			p.IOPriority = &specs.LinuxIOPriority{Class: c, Priority: n}
		} else {
			g.note("ionice/class: not taken over: %q", class)
		}
	}
	if v := g.text("badness"); v != "" {
		if n, err := strconv.Atoi(v); err == nil && n >= -1000 && n <= 1000 {
			p.OOMScoreAdj = &n
		} else {
			g.note("badness: not taken over: %q", v)
		}
	}
	for _, n := range g.entries("ulimits") {
		g.ulimit(n)
	}
}

// ulimit takes over a file of ulimits: the limit's name, or that and .soft or .hard.
func (g *guest) ulimit(file string) {
	from := "ulimits/" + file
	value := g.text(from)
	name, kind, _ := strings.Cut(file, ".")
	n := ^uint64(0)
	if value != "inf" {
		var err error
		if n, err = strconv.ParseUint(value, 10, 64); err != nil {
			g.note("%s: not taken over: %q", from, value)
			return
		}
	}
	typ := "RLIMIT_" + strings.ToUpper(name)
	i := slices.IndexFunc(g.s.Process.Rlimits, func(r specs.POSIXRlimit) bool { return r.Type == typ })
	if i < 0 {
		i = len(g.s.Process.Rlimits)
		g.s.Process.Rlimits = append(g.s.Process.Rlimits, specs.POSIXRlimit{Type: typ, Soft: n, Hard: ^uint64(0)})
	}
	r := &g.s.Process.Rlimits[i]
	if kind != "hard" {
		r.Soft = n
	}
	if kind != "soft" {
		r.Hard = n
	}
	if r.Soft > r.Hard {
		r.Hard = r.Soft
	}
}
