package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// output has a container run to its end, which shall be a success, and returns what it printed: lines without the log's own words.
func (c *client) output(edit func(*cri.ContainerConfig), pod string, config *cri.PodSandboxConfig, name string, ns *cri.NamespaceOption, args ...string) (string, error) {
	id, err := c.createWith(edit, pod, config, name, ns, args...)
	if err != nil {
		return "", err
	}
	if _, err = c.rt.StartContainer(c.ctx, &cri.StartContainerRequest{ContainerId: id}); err != nil {
		return "", err
	}
	if err := c.state(id, cri.ContainerState_CONTAINER_EXITED, 0); err != nil {
		return "", err
	}
	b, err := os.ReadFile(filepath.Join(*logs, config.Metadata.Name+"."+name+".log"))
	if err != nil {
		return "", err
	}
	var lines []string
	for l := range strings.Lines(string(b)) {
		// TIME STREAM F|P TEXT
		if f := strings.SplitN(strings.TrimRight(l, "\r\n"), " ", 4); len(f) == 4 {
			lines = append(lines, f[3])
		}
	}
	_, err = c.rt.RemoveContainer(c.ctx, &cri.RemoveContainerRequest{ContainerId: id})
	return strings.Join(lines, "\n"), err
}

// A variant is a container with another configuration, and what its script shall print.
type variant struct {
	name         string
	edit         func(*cri.ContainerConfig)
	script, want string
}

func (c *client) try(name, pod string, config *cri.PodSandboxConfig, ns *cri.NamespaceOption, all []variant) {
	for i, v := range all {
		c.step(name+"/"+v.name, func() error {
			out, err := c.output(v.edit, pod, config, fmt.Sprintf("v%d", i), ns, "sh", "-c", v.script)
			if err == nil && out != v.want {
				err = fmt.Errorf("%q, want %q", out, v.want)
			}
			return err
		})
	}
}

// variants is what a pod's security context, and its containers', ask for.
func (c *client) variants(name, pod string, config *cri.PodSandboxConfig, ns *cri.NamespaceOption) {
	all := []variant{
		{"terminal", func(cc *cri.ContainerConfig) { cc.Tty, cc.Stdin = true, true }, "tty", "/dev/pts/0"},
		{"user and groups", func(cc *cri.ContainerConfig) {
			s := cc.Linux.SecurityContext
			s.RunAsUser, s.RunAsGroup, s.SupplementalGroups = &cri.Int64Value{Value: 1234}, &cri.Int64Value{Value: 1235}, []int64{3000}
		}, "id -u; id -g; id -G", "1234\n1235\n1235 3000"},
		{"read-only root", func(cc *cri.ContainerConfig) { cc.Linux.SecurityContext.ReadonlyRootfs = true }, "touch /x 2>/dev/null || echo read-only", "read-only"},
		{"seccomp", func(cc *cri.ContainerConfig) {
			cc.Linux.SecurityContext.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
		}, "grep Seccomp: /proc/self/status", "Seccomp:\t2"},
		{"working directory", func(cc *cri.ContainerConfig) { cc.WorkingDir = "/a/new/one" }, "pwd", "/a/new/one"},
		{"sysctl of the pod", nil, "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "42"},
		{"hostname of the pod", nil, "hostname", name},
	}
	if b, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled"); string(b) == "Y\n" {
		all = append(all, variant{"AppArmor", func(cc *cri.ContainerConfig) {
			cc.Linux.SecurityContext.Apparmor = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_RuntimeDefault}
		}, "cat /proc/self/attr/current", "cri-containerd.apparmor.d (enforce)"})
	} else {
		fmt.Printf("skip %s/AppArmor: this host does not have it\n", name)
	}
	if _, err := os.Stat("/dev/fuse"); err == nil { // one that is not among those of every container
		all = append(all, variant{"device", func(cc *cri.ContainerConfig) {
			cc.Devices = []*cri.Device{{HostPath: "/dev/fuse", ContainerPath: "/dev/other", Permissions: "r"}}
		}, "(: </dev/other) && echo opened; (: >/dev/other) 2>/dev/null || echo denied", "opened\ndenied"})
	} else {
		fmt.Printf("skip %s/device: there is no /dev/fuse\n", name)
	}
	if *seccomp != "" {
		all = append(all, variant{"seccomp, a profile of its own", func(cc *cri.ContainerConfig) {
			cc.Linux.SecurityContext.Seccomp = &cri.SecurityProfile{ProfileType: cri.SecurityProfile_Localhost, LocalhostRef: *seccomp}
		}, "mkdir /tmp/x 2>&1 | sed 's/.*: //'", "Operation not supported"})
	}
	c.try(name, pod, config, ns, all)
}

// privileged is a pod that may do everything.
func (c *client) privileged() {
	const name = "pod-privileged"
	ns := &cri.NamespaceOption{Network: cri.NamespaceMode_POD, Pid: cri.NamespaceMode_CONTAINER}
	config := c.config(name, ns)
	config.Linux.SecurityContext.Privileged = true
	id, ok := c.runSandbox(name, config)
	if !ok {
		return
	}
	edit := func(cc *cri.ContainerConfig) {
		s := cc.Linux.SecurityContext
		s.Privileged, s.NoNewPrivs, s.Capabilities, s.MaskedPaths, s.ReadonlyPaths = true, false, nil, nil, nil
	}
	c.try(name, id, config, ns, []variant{
		{"mounts", edit, "mount -t tmpfs x /tmp && grep -c '^x /tmp' /proc/mounts", "1"},
		{"devices", edit, "test -c /dev/kmsg && head -c 3 /dev/zero | wc -c", "3"},
		{"no seccomp", edit, "grep -E 'Seccomp:|NoNewPrivs' /proc/self/status", "NoNewPrivs:\t0\nSeccomp:\t0"},
	})
	c.removeSandbox(name, id)
}
