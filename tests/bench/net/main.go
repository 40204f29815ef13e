// Net compares the network of containers: one that shares the host's network namespace, one that has a network context in
// it, and one with a network namespace of its own behind a veth pair and a bridge. Client and server are two containers of
// the same kind. Every round runs all of them once, so that a busy moment hits them all alike.
//
//	net [-n ROUNDS] [-seconds S] [-idle N]
//
// It works in a network namespace that it makes for itself.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

const inside = "VSRUN_BENCH_NETNS"

func main() {
	rounds := flag.Int("n", 5, "rounds")
	seconds := flag.Int("seconds", 1, "of each measurement")
	idle := flag.Int("idle", 40, "containers of each kind whose memory is measured; 0 leaves it out")
	flag.Parse()
	if err := run(*rounds, *seconds, *idle); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// arm is one kind of container.
type arm struct {
	name           string
	server, client []string // edits of config.json
	address        string   // of the server
	own            string   // of the client; it can talk to itself there
	rates, cpu     map[string][]float64
	memory         []float64 // KiB of a container
}

var kinds = []struct{ name, what, unit string }{
	{"tcp", "TCP connect, accept, close", "/s"}, {"pair", "the same in one process", "/s"}, {"udp", "UDP ping-pong", "/s"}, {"bulk", "TCP bulk", " MB/s"},
}

type bench struct {
	rt      *harness.Runtime
	dir     string
	sockets string
}

func run(rounds, seconds, idle int) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root: it runs real containers")
	}
	if os.Getenv(inside) == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		cmd := exec.Command(self, os.Args[1:]...)
		cmd.Stdout, cmd.Stderr, cmd.Env = os.Stdout, os.Stderr, append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		err = cmd.Run()
		if rt, rerr := harness.FindRuntime(); rerr == nil {
			_ = exec.Command(rt.Path, "net", "gc").Run()
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			os.Exit(exit.ExitCode())
		}
		return err
	}
	b := &bench{}
	var err error
	if b.rt, err = harness.FindRuntime(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "vsrun-bench-net"); err != nil {
		return err
	}
	defer func() {
		harness.Purge(filepath.Base(b.dir), b.dir)
		harness.RemoveTree(b.dir)
	}()
	b.sockets = filepath.Join(b.dir, "sockets")
	build := exec.Command("go", "build", "-trimpath", "-o", b.sockets, "github.com/vsrun/vsrun/tests/cmd/sockets")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	if err := b.network(); err != nil {
		return err
	}
	const key = `annotations."org.linux-vserver.net.addresses"=`
	arms := []*arm{
		{name: "host", server: []string{"-linux.namespaces[type=network]"}, client: []string{"-linux.namespaces[type=network]"}, address: "10.78.0.1", own: "10.78.0.1"},
		{name: "context", server: []string{"-linux.namespaces[type=network]", key + "10.78.0.2/24"}, client: []string{"-linux.namespaces[type=network]", key + "10.78.0.3/24"}, address: "10.78.0.2", own: "10.78.0.3"},
		{name: "netns", server: []string{"linux.namespaces[type=network].path=/run/netns/" + b.ns("s")}, client: []string{"linux.namespaces[type=network].path=/run/netns/" + b.ns("c")}, address: "10.78.1.2", own: "10.78.1.3"},
	}
	defer b.dropNetwork()
	for _, a := range arms {
		a.rates, a.cpu = map[string][]float64{}, map[string][]float64{}
		for _, side := range []struct {
			name  string
			edits []string
		}{{"server", a.server}, {"client", a.client}} {
			id := b.id(a, side.name)
			if err := b.start(id, side.edits); err != nil {
				return err
			}
			defer func() { _, _ = b.vsrun("delete", "--force", id) }()
		}
		for i, k := range kinds {
			if k.name == "pair" {
				continue
			}
			c := b.call("exec", "-d", b.id(a, "server"), "/bin/sockets", "sink", k.name, a.address+":"+strconv.Itoa(7000+i))
			c.Stdout = filepath.Join(b.dir, a.name+k.name)
			if res, err := b.rt.Run(c); err != nil || res.Code != 0 {
				return fmt.Errorf("%s: %v %s", a.name, err, res.Stderr)
			}
			if !harness.Poll(5*time.Second, func() bool { t, _ := os.ReadFile(c.Stdout); return bytes.HasPrefix(t, []byte("ready")) }) {
				return fmt.Errorf("%s: the server for %s did not start", a.name, k.name)
			}
		}
	}
	for range rounds {
		for i, k := range kinds {
			for _, a := range arms {
				addr := a.address
				if k.name == "pair" {
					addr = a.own
				}
				out, err := b.vsrun("exec", b.id(a, "client"), "/bin/sockets", "rate", k.name, addr+":"+strconv.Itoa(7000+i), strconv.Itoa(seconds))
				if err != nil {
					return fmt.Errorf("%s, %s: %w", a.name, k.what, err)
				}
				var rate, cpu float64
				if _, err := fmt.Sscan(out, &rate, &cpu); err != nil {
					return fmt.Errorf("%s, %s: %q", a.name, k.what, out)
				}
				a.rates[k.name] = append(a.rates[k.name], rate)
				a.cpu[k.name] = append(a.cpu[k.name], cpu)
			}
		}
	}
	if idle > 0 {
		if err := b.memory(arms, idle); err != nil {
			return err
		}
	}
	print(arms, rounds, seconds, idle)
	return nil
}

func (b *bench) ns(side string) string { return filepath.Base(b.dir) + side }

func (b *bench) id(a *arm, side string) string { return filepath.Base(b.dir) + a.name + side }

func (b *bench) call(args ...string) harness.Call {
	return harness.Call{Args: append([]string{"--root", filepath.Join(b.dir, "root")}, args...), Env: []string{"PATH=" + os.Getenv("PATH"), harness.TagEnv + "=" + filepath.Base(b.dir)}}
}

func (b *bench) vsrun(args ...string) (string, error) {
	res, err := b.rt.Run(b.call(args...))
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("%s: exit code %d: %s%s", strings.Join(args, " "), res.Code, res.Stdout, res.Stderr)
	}
	return res.Stdout, err
}

func (b *bench) bundle(dir string, edits []string) error {
	edits = append([]string{`process.env+="` + harness.TagEnv + "=" + filepath.Base(b.dir) + `"`, "args:/bin/sleep 100000"}, edits...)
	if err := harness.MakeBundle(dir, "", edits...); err != nil {
		return err
	}
	return os.Link(b.sockets, filepath.Join(dir, "rootfs/bin/sockets"))
}

func (b *bench) start(id string, edits []string) error {
	dir := filepath.Join(b.dir, id)
	if err := b.bundle(dir, edits); err != nil {
		return err
	}
	_, err := b.vsrun("run", "-d", "-b", dir, id)
	return err
}

// network gives addresses to lo, and makes two network namespaces that a bridge connects.
func (b *bench) network() error {
	s, c := b.ns("s"), b.ns("c")
	lines := []string{"link set lo up", "addr add 10.78.0.1/24 dev lo", "addr add 10.78.0.2/24 dev lo", "addr add 10.78.0.3/24 dev lo",
		"link add br0 type bridge", "link set br0 up", "addr add 10.78.1.1/24 dev br0"}
	for i, n := range []string{s, c} {
		h := "h" + strconv.Itoa(i)
		lines = append(lines, "netns add "+n, "link add "+h+" type veth peer name eth0 netns "+n, "link set "+h+" master br0 up",
			"-n "+n+" link set lo up", "-n "+n+" addr add 10.78.1."+strconv.Itoa(i+2)+"/24 dev eth0", "-n "+n+" link set eth0 up")
	}
	for _, l := range lines {
		if out, err := exec.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			b.dropNetwork()
			return fmt.Errorf("ip %s: %w: %s", l, err, out)
		}
	}
	return nil
}

func (b *bench) dropNetwork() {
	for _, n := range []string{"s", "c"} {
		_ = exec.Command("ip", "netns", "del", b.ns(n)).Run()
	}
}

// memory measures what the kernel takes for idle containers: what all of it has grown by, for each of many.
func (b *bench) memory(arms []*arm, count int) error {
	const settle = 1500 * time.Millisecond // the kernel frees what is gone later
	for range 3 {
		for _, a := range arms {
			time.Sleep(settle)
			before, err := kernelMemory()
			if err != nil {
				return err
			}
			for i := range count {
				id := b.id(a, "idle"+strconv.Itoa(i))
				dir := filepath.Join(b.dir, "idle-"+a.name+strconv.Itoa(i))
				var edits []string
				switch a.name {
				case "host":
					edits = a.server
				case "context":
					edits = []string{"-linux.namespaces[type=network]", `annotations."org.linux-vserver.net.addresses"=10.79.` + strconv.Itoa(i/250) + "." + strconv.Itoa(1+i%250), `annotations."org.linux-vserver.net.missing-address"=warn`}
				}
				if _, err := os.Stat(dir); err != nil {
					if err := b.bundle(dir, edits); err != nil {
						return err
					}
				}
				if _, err := b.vsrun("run", "-d", "-b", dir, id); err != nil {
					return err
				}
			}
			time.Sleep(settle)
			after, err := kernelMemory()
			if err != nil {
				return err
			}
			a.memory = append(a.memory, float64(after-before)/float64(count))
			for i := range count {
				if _, err := b.vsrun("delete", "--force", b.id(a, "idle"+strconv.Itoa(i))); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// kernelMemory is what the kernel itself uses, in KiB (proc_meminfo(5)).
func kernelMemory() (int, error) {
	text, err := os.ReadFile("/proc/meminfo")
	sum := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		switch f[0] {
		case "SUnreclaim:", "KernelStack:", "PageTables:", "Percpu:":
			n, err := strconv.Atoi(f[1])
			if err != nil {
				return 0, err
			}
			sum += n
		}
	}
	return sum, err
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

// ratio is the median of what the first is to the second, round by round.
func ratio(a, b []float64) float64 {
	var r []float64
	for i := range a {
		r = append(r, a[i]/b[i])
	}
	return median(r)
}

func print(arms []*arm, rounds, seconds, idle int) {
	fmt.Printf("medians of %d interleaved rounds of %d s; to that of host; least CPU time of the client for each (bulk: KB)\n\n", rounds, seconds)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t")
	for _, a := range arms {
		fmt.Fprintf(t, "%s\t\t\t", a.name)
	}
	fmt.Fprintln(t)
	for _, k := range kinds {
		fmt.Fprintf(t, "%s\t", k.what)
		for _, a := range arms {
			rate, cpu := median(a.rates[k.name]), slices.Min(a.cpu[k.name])
			if k.name == "bulk" {
				rate, cpu = rate/1e6, cpu*1e3
			}
			fmt.Fprintf(t, "%.0f%s\t%.2fx\t%.2f µs\t", rate, k.unit, ratio(a.rates[k.name], arms[0].rates[k.name]), cpu/1e3)
		}
		fmt.Fprintln(t)
	}
	if idle > 0 {
		fmt.Fprintf(t, "kernel memory, idle\t")
		for _, a := range arms {
			m := a.memory
			fmt.Fprintf(t, "%.0f KB\t%+.0f\t\t", slices.Min(m), slices.Min(m)-slices.Min(arms[0].memory))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
}
