// Command cri plays the kubelet's part against a CRI server: a pod, a container in it, and what kubelet asks of them.
// Every step prints "ok NAME" or "FAIL NAME: why"; the exit code is 1 if any failed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

var (
	address  = flag.String("address", "/run/containerd/containerd.sock", "the server's `socket`")
	handler  = flag.String("handler", "", "the runtime `handler` of the pods")
	image    = flag.String("image", "", "an `image` with busybox, there already")
	logs     = flag.String("logs", "", "a `directory` for the containers' logs")
	patience = flag.Int("patience", 1, "how many `times` longer a slow machine may take")
	volume   = flag.String("volume", "", "a `directory` with a mount on sub, for read-only mounts")
	seccomp  = flag.String("seccomp", "", "a `file` with a seccomp profile that refuses mkdir(2) with EOPNOTSUPP")
	many     = flag.Int("at-once", 0, "the `number` of containers that are started at once, besides")
	parent   = flag.String("cgroup-parent", "/vsrun-engines", "the pods' `cgroup`")
)

type client struct {
	ctx    context.Context
	rt     cri.RuntimeServiceClient
	failed int

	server, serverVersion string
}

// step runs one check, and goes on after it whatever it said.
func (c *client) step(name string, f func() error) bool {
	begin := time.Now()
	if err := f(); err != nil {
		c.failed++
		fmt.Printf("FAIL %s: %v\n", name, err)
		return false
	}
	fmt.Printf("ok %s (%d s)\n", name, int(time.Since(begin).Seconds()))
	return true
}

func main() {
	flag.Parse()
	if *image == "" || *logs == "" {
		fmt.Fprintln(os.Stderr, "usage: cri -address SOCKET -handler NAME -image IMAGE -logs DIR")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(*patience)*(3*time.Minute+time.Duration(*many)*3*time.Second))
	defer cancel()
	conn, err := grpc.NewClient("unix://"+*address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(os.Stderr, "cri:", err)
		os.Exit(1)
	}
	c := &client{ctx: ctx, rt: cri.NewRuntimeServiceClient(conn)}
	c.pods()
	if *many > 0 {
		c.atOnce(*many)
	}
	conn.Close()
	fmt.Println("ok the end")
	if c.failed > 0 {
		os.Exit(1)
	}
}

// pods plays the life of three pods: with namespaces of its own, with a user namespace besides, in the host's.
func (c *client) pods() {
	if !c.step("version", c.version) {
		return
	}
	c.pod("pod", &cri.NamespaceOption{Network: cri.NamespaceMode_POD, Pid: cri.NamespaceMode_CONTAINER})
	if c.since17("pod-userns") {
		c.userns()
	}
	c.privileged()
	c.pod("pod-shared-pid", &cri.NamespaceOption{Network: cri.NamespaceMode_NODE, Pid: cri.NamespaceMode_POD})
}

// since17 tells of what containerd 1.7 was the first to have in the CRI if it is there; else that name is skipped.
func (c *client) since17(name string) bool {
	old := c.server == "containerd" && (strings.HasPrefix(c.serverVersion, "1.5") || strings.HasPrefix(c.serverVersion, "1.6"))
	if old {
		fmt.Printf("skip %s: containerd %s does not have it in the CRI, as 1.7 was the first to do\n", name, c.serverVersion)
	}
	return !old
}

// userns is a pod with a user namespace of its own.
func (c *client) userns() {
	ids := []*cri.IDMapping{{HostId: 200000, Length: 65536}}
	c.pod("pod-userns", &cri.NamespaceOption{Network: cri.NamespaceMode_POD, Pid: cri.NamespaceMode_CONTAINER,
		UsernsOptions: &cri.UserNamespace{Mode: cri.NamespaceMode_POD, Uids: ids, Gids: ids}})
}

func (c *client) version() error {
	v, err := c.rt.Version(c.ctx, &cri.VersionRequest{})
	c.server, c.serverVersion = v.GetRuntimeName(), strings.TrimPrefix(v.GetRuntimeVersion(), "v")
	if err == nil && v.RuntimeApiVersion != "v1" {
		err = fmt.Errorf("the server speaks CRI %s", v.RuntimeApiVersion)
	}
	return err
}

func (c *client) config(name string, ns *cri.NamespaceOption) *cri.PodSandboxConfig {
	config := &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: name, Namespace: "test"},
		LogDirectory: *logs,
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    *parent,
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: ns},
		},
	}
	if ns.Network == cri.NamespaceMode_POD {
		config.Hostname = name
		config.Linux.Sysctls = map[string]string{"net.ipv4.ip_unprivileged_port_start": "42"}
	}
	return config
}

func (c *client) runSandbox(name string, config *cri.PodSandboxConfig) (id string, ok bool) {
	ok = c.step(name+"/run sandbox", func() error {
		r, err := c.rt.RunPodSandbox(c.ctx, &cri.RunPodSandboxRequest{Config: config, RuntimeHandler: *handler})
		id = r.GetPodSandboxId()
		return err
	})
	return id, ok
}

func (c *client) removeSandbox(name, id string) {
	c.step(name+"/stop sandbox", func() error {
		_, err := c.rt.StopPodSandbox(c.ctx, &cri.StopPodSandboxRequest{PodSandboxId: id})
		return err
	})
	c.step(name+"/remove sandbox", func() error {
		_, err := c.rt.RemovePodSandbox(c.ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id})
		return err
	})
}

func (c *client) pod(name string, ns *cri.NamespaceOption) {
	config := c.config(name, ns)
	id, ok := c.runSandbox(name, config)
	if !ok {
		return
	}
	c.step(name+"/sandbox is ready", func() error {
		r, err := c.rt.PodSandboxStatus(c.ctx, &cri.PodSandboxStatusRequest{PodSandboxId: id})
		if err == nil && (r.Status.State != cri.PodSandboxState_SANDBOX_READY || r.Status.RuntimeHandler != *handler) {
			err = fmt.Errorf("%v under %q", r.Status.State, r.Status.RuntimeHandler)
		}
		return err
	})
	c.container(name, id, config, ns)
	c.failing(name, id, config, ns)
	c.readOnly(name, id, config, ns)
	if name == "pod" {
		c.variants(name, id, config, ns)
		c.streams(name, id, config, ns)
	}
	c.removeSandbox(name, id)
}

func (c *client) create(pod string, config *cri.PodSandboxConfig, name string, ns *cri.NamespaceOption, args ...string) (string, error) {
	return c.createWith(nil, pod, config, name, ns, args...)
}

// createWith has the configuration edited first.
func (c *client) createWith(edit func(*cri.ContainerConfig), pod string, config *cri.PodSandboxConfig, name string, ns *cri.NamespaceOption, args ...string) (string, error) {
	container := &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: *image},
		Command:  args,
		Envs:     []*cri.KeyValue{{Key: "KEY", Value: "value"}},
		LogPath:  config.Metadata.Name + "." + name + ".log",
		Linux: &cri.LinuxContainerConfig{
			Resources: &cri.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 512, CpuPeriod: 100000, CpuQuota: 50000, OomScoreAdj: 1000},
			SecurityContext: &cri.LinuxContainerSecurityContext{
				NamespaceOptions: ns,
				NoNewPrivs:       true,
				Capabilities:     &cri.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"KILL"}},
				MaskedPaths:      []string{"/proc/kcore", "/proc/keys", "/sys/firmware"},
				ReadonlyPaths:    []string{"/proc/sys", "/proc/irq"},
			},
		},
	}
	if edit != nil {
		edit(container)
	}
	r, err := c.rt.CreateContainer(c.ctx, &cri.CreateContainerRequest{PodSandboxId: pod, SandboxConfig: config, Config: container})
	return r.GetContainerId(), err
}

func (c *client) container(name, pod string, config *cri.PodSandboxConfig, ns *cri.NamespaceOption) {
	var id string
	script := `trap "exit 7" TERM; echo started $KEY; while :; do sleep 0.1; done`
	if !c.step(name+"/create container", func() (err error) {
		id, err = c.create(pod, config, "c", ns, "sh", "-c", script)
		return err
	}) {
		return
	}
	c.step(name+"/start container", func() error {
		_, err := c.rt.StartContainer(c.ctx, &cri.StartContainerRequest{ContainerId: id})
		return err
	})
	c.step(name+"/container runs", func() error { return c.state(id, cri.ContainerState_CONTAINER_RUNNING, 0) })
	execs := []struct {
		name, script, out string
		code              int32
	}{
		{"exec", "echo $KEY", "value\n", 0},
		{"exec exits 3", "exit 3", "", 3},
		{"capabilities", "grep CapEff /proc/self/status", "CapEff:\t0000000000000020\n", 0},
		{"no_new_privs", "grep NoNewPrivs /proc/self/status", "NoNewPrivs:\t1\n", 0},
		{"oom_score_adj", "cat /proc/1/oom_score_adj >/dev/null; cat /proc/self/oom_score_adj", "1000\n", 0},
		{"masked", "cat /proc/keys; ls -A /sys/firmware", "", 0},
		{"read-only", "echo 1 > /proc/sys/kernel/hostname", "", 1},
	}
	if ns.UsernsOptions != nil {
		execs = append(execs, struct {
			name, script, out string
			code              int32
		}{"ids", "read -r a b c </proc/self/uid_map; echo $a $b $c; stat -c %u /bin/busybox", "0 200000 65536\n0\n", 0})
	}
	for _, e := range execs {
		c.step(name+"/"+e.name, func() error {
			r, err := c.rt.ExecSync(c.ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"sh", "-c", e.script}, Timeout: int64(20 * *patience)})
			if err == nil && (r.ExitCode != e.code || string(r.Stdout) != e.out) {
				err = fmt.Errorf("exit code %d, %q, %q", r.ExitCode, r.Stdout, r.Stderr)
			}
			return err
		})
	}
	c.step(name+"/exec that lasts too long", func() error {
		_, err := c.rt.ExecSync(c.ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"sleep", "100"}, Timeout: 1})
		if err == nil || !strings.Contains(err.Error(), "DeadlineExceeded") {
			return fmt.Errorf("want a timeout, got %v", err)
		}
		return nil
	})
	c.step(name+"/exec of nothing", func() error {
		_, err := c.rt.ExecSync(c.ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"/nosuch"}, Timeout: int64(20 * *patience)})
		if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
			return fmt.Errorf("want an error about the file, got %v", err)
		}
		return nil
	})
	c.step(name+"/update", func() error {
		_, err := c.rt.UpdateContainerResources(c.ctx, &cri.UpdateContainerResourcesRequest{
			ContainerId: id, Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: 96 << 20, CpuShares: 256},
		})
		if err != nil {
			return err
		}
		const limit = "cat /sys/fs/cgroup/memory.max 2>/dev/null || cat /sys/fs/cgroup/memory/memory.limit_in_bytes"
		r, err := c.rt.ExecSync(c.ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: []string{"sh", "-c", limit}, Timeout: int64(20 * *patience)})
		if err == nil && string(r.Stdout) != "100663296\n" {
			err = fmt.Errorf("the limit is %q, %q", r.Stdout, r.Stderr)
		}
		return err
	})
	c.step(name+"/stats", func() error {
		r, err := c.rt.ContainerStats(c.ctx, &cri.ContainerStatsRequest{ContainerId: id})
		if err == nil && r.Stats.GetMemory().GetWorkingSetBytes().GetValue() == 0 {
			err = fmt.Errorf("no memory in %v", r.Stats)
		}
		return err
	})
	c.step(name+"/stop container", func() error {
		_, err := c.rt.StopContainer(c.ctx, &cri.StopContainerRequest{ContainerId: id, Timeout: 10})
		return err
	})
	c.step(name+"/container has ended", func() error { return c.state(id, cri.ContainerState_CONTAINER_EXITED, 7) })
	c.step(name+"/log", func() error {
		b, err := os.ReadFile(filepath.Join(*logs, name+".c.log"))
		if err == nil && !strings.HasSuffix(string(b), " stdout F started value\n") {
			err = fmt.Errorf("%q", b)
		}
		return err
	})
	c.step(name+"/remove container", func() error {
		_, err := c.rt.RemoveContainer(c.ctx, &cri.RemoveContainerRequest{ContainerId: id})
		return err
	})
}

// failing is containers that can't start, end by themselves, and run out of memory.
func (c *client) failing(name, pod string, config *cri.PodSandboxConfig, ns *cri.NamespaceOption) {
	tests := []struct {
		name   string
		args   []string
		start  string // StartContainer's error
		code   int32
		reason string
	}{
		{"no such program", []string{"/nosuch"}, "no such file or directory", 128, "StartError"},
		{"exit code", []string{"sh", "-c", "exit 5"}, "", 5, "Error"},
		{"completed", []string{"true"}, "", 0, "Completed"},
		{"out of memory", []string{"dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"}, "", 137, "OOMKilled"},
	}
	for _, t := range tests {
		c.step(name+"/"+t.name, func() error {
			var err error
			// containerd 1.7 may hear of a container's end before it hears that memory had run out.
			for try := range 3 {
				var reason string
				if reason, err = c.fails(fmt.Sprintf("%s%d", strings.ReplaceAll(t.name, " ", "-"), try), pod, config, ns, t.args, t.start, t.code); err != nil {
					return err
				}
				if reason == t.reason {
					return nil
				}
				err = fmt.Errorf("reason %q, want %q", reason, t.reason)
				if t.reason != "OOMKilled" {
					break
				}
			}
			return err
		})
	}
}

// fails runs a container that ends with an exit code, or can't be started, and returns the reason that the server gives.
func (c *client) fails(name, pod string, config *cri.PodSandboxConfig, ns *cri.NamespaceOption, args []string, start string, code int32) (string, error) {
	id, err := c.create(pod, config, name, ns, args...)
	if err != nil {
		return "", err
	}
	_, err = c.rt.StartContainer(c.ctx, &cri.StartContainerRequest{ContainerId: id})
	switch {
	case start == "" && err != nil:
		return "", err
	case start != "" && (err == nil || !strings.Contains(err.Error(), start)):
		return "", fmt.Errorf("start: want an error with %q, got %v", start, err)
	}
	if err := c.state(id, cri.ContainerState_CONTAINER_EXITED, code); err != nil {
		return "", err
	}
	r, err := c.rt.ContainerStatus(c.ctx, &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		return "", err
	}
	_, err = c.rt.RemoveContainer(c.ctx, &cri.RemoveContainerRequest{ContainerId: id})
	return r.Status.Reason, err
}

// state waits for a container's state.
func (c *client) state(id string, want cri.ContainerState, code int32) error {
	var s *cri.ContainerStatus
	for range 100 * *patience {
		r, err := c.rt.ContainerStatus(c.ctx, &cri.ContainerStatusRequest{ContainerId: id})
		if err != nil {
			return err
		}
		if s = r.Status; s.State == want && s.ExitCode == code {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("%v with exit code %d, want %v with %d", s.State, s.ExitCode, want, code)
}
