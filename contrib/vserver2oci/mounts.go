package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// defaultFstab is what util-vserver mounts where there is no fstab.
const defaultFstab = "none /proc proc defaults 0 0\nnone /tmp tmpfs size=16m,mode=1777 0 0\nnone /dev/pts devpts gid=5,mode=620 0 0\n"

// mounts are those of fstab, over what every container has.
func mounts(g *guest) {
	text := g.text("fstab")
	if text == "" {
		if text = g.defaults.text("fstab"); text == "" {
			text = defaultFstab
		}
	}
	for l := range strings.Lines(text) {
		f := strings.Fields(l)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}
		if len(f) < 3 {
			g.note("fstab: not taken over: %q", strings.TrimSpace(l))
			continue
		}
		m := specs.Mount{Source: f[0], Destination: f[1], Type: f[2]}
		if len(f) > 3 {
			m.Options = slices.DeleteFunc(strings.Split(f[3], ","), func(o string) bool {
				return o == "defaults" || o == "auto" || o == "noauto" || o == "user" || o == "nouser"
			})
		}
		if slices.Contains(m.Options, "bind") || slices.Contains(m.Options, "rbind") {
			m.Type = "bind"
		}
		if m.Type == "swap" || m.Destination == "none" || m.Destination == "swap" {
			g.note("fstab: not taken over: %q", strings.TrimSpace(l))
			continue
		}
		g.mount(m)
	}
	for _, n := range []string{"fstab.remote"} {
		if g.has(n) {
			g.note("%s: not taken over: network filesystems are mounted by the host", n)
		}
	}
}

// mount adds a mount, in the place of one with the same destination.
func (g *guest) mount(m specs.Mount) {
	clean := filepath.Clean(m.Destination)
	if i := slices.IndexFunc(g.s.Mounts, func(o specs.Mount) bool { return filepath.Clean(o.Destination) == clean }); i >= 0 {
		if m.Type != g.s.Mounts[i].Type { // proc and devpts have better options already
			g.s.Mounts[i] = m
		}
		return
	}
	g.s.Mounts = append(g.s.Mounts, m)
}

// scripts become hooks. They are called as util-vserver did: with their own name and the guest's.
func scripts(g *guest) {
	var h specs.Hooks
	for _, at := range []struct {
		name string
		to   *[]specs.Hook
	}{
		{"initialize", &h.CreateRuntime}, {"prepre-start", &h.CreateRuntime}, {"pre-start", &h.CreateRuntime},
		{"post-start", &h.Poststart}, {"post-stop", &h.Poststop}, {"postpost-stop", &h.Poststop},
		{"prepre-stop", nil}, {"pre-stop", nil},
	} {
		files := []string{"scripts/" + at.name}
		for _, n := range g.entries("scripts/" + at.name + ".d") {
			files = append(files, "scripts/"+at.name+".d/"+n)
		}
		for _, file := range files {
			if st, err := os.Stat(filepath.Join(g.dir, file)); !g.has(file) || err != nil || st.IsDir() || st.Mode()&0o111 == 0 {
				continue
			}
			if at.to == nil {
				g.note("%s: not taken over: no hook is called before a container stops", file)
				continue
			}
			path, err := filepath.Abs(filepath.Join(g.dir, file))
			if err != nil {
				g.errs = append(g.errs, err)
				continue
			}
			*at.to = append(*at.to, specs.Hook{Path: path, Args: []string{path, at.name, g.name}})
		}
	}
	if len(h.CreateRuntime)+len(h.Poststart)+len(h.Poststop) > 0 {
		g.s.Hooks = &h
	}
}

// service: what systemd does now.
func service(g *guest) {
	if mark := g.text("apps/init/mark"); mark != "" {
		g.note("apps/init/mark: to start the guest at boot: systemctl enable vsrun@%s", g.name)
	}
	for _, d := range g.lines("apps/init/depends") {
		g.note("apps/init/depends: systemctl edit vsrun@%s, [Unit] Requires=vsrun@%s.service After=vsrun@%s.service", g.name, d, d)
	}
	if v := g.text("apps/init/killseq"); v != "" {
		g.note("apps/init/killseq: %s: systemctl edit vsrun@%s, [Service] KillSignal=, TimeoutStopSec=", v, g.name)
	}
	for _, n := range g.entries("apps/vshelper") {
		g.has("apps/vshelper/" + n)
		g.note("apps/vshelper/%s: not taken over: systemd restarts a service (Restart=)", n)
	}
}
