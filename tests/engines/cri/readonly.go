package main

import (
	"fmt"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// readOnly has mounts that are read-only: with what is mounted below, too, where the server offers that for its handler.
func (c *client) readOnly(name, pod string, config *cri.PodSandboxConfig, ns *cri.NamespaceOption) {
	if *volume == "" {
		return
	}
	recursive := false
	if status, err := c.rt.Status(c.ctx, &cri.StatusRequest{}); err == nil {
		for _, h := range status.RuntimeHandlers {
			recursive = recursive || h.Name == *handler && h.Features.GetRecursiveReadOnlyMounts()
		}
	}
	tests := []struct {
		name, want string
		recursive  bool
	}{
		{"read-only mount", "read-only writable", false},
		{"recursively read-only mount", "read-only read-only", true},
	}
	script := "for f in /v/" + name + " /v/sub/" + name + "; do if (: >$f) 2>/dev/null; then echo writable; else echo read-only; fi; done"
	for i, t := range tests {
		if t.recursive && !recursive {
			fmt.Printf("skip %s/%s: this server does not offer it in the CRI, as containerd 2.0 was the first to do\n", name, t.name)
			continue
		}
		c.step(name+"/"+t.name, func() error {
			mount := &cri.Mount{ContainerPath: "/v", HostPath: *volume, Readonly: true, RecursiveReadOnly: t.recursive}
			out, err := c.output(func(cc *cri.ContainerConfig) { cc.Mounts = []*cri.Mount{mount} }, pod, config, fmt.Sprintf("ro%d", i), ns, "sh", "-c", script)
			if s := strings.ReplaceAll(out, "\n", " "); err == nil && s != t.want {
				err = fmt.Errorf("%s, want %s", s, t.want)
			}
			return err
		})
	}
}
