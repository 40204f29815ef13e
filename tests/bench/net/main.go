// Net compares the network of containers: some that have the host's network namespace to themselves, some with network
// contexts in one, and some with a namespace each behind a veth pair and a bridge. Client and server are two containers of
// the same kind. Every round runs all of them once, so that a busy moment hits them all alike.
//
//	net [-n ROUNDS] [-ms MILLISECONDS] [-idle N]
//
// It works in network namespaces that it makes for itself. What stands for the host's is one of its own, which no BPF program
// has ever been attached to; that of the contexts is like it. A context has two addresses of IPv4 and two of IPv6, so that
// all programs there are have their part; "one address" has one. "filter" is the host with a seccomp filter, which engines
// give every container and a context has, too: any filter at all makes system calls slower.
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
	rounds := flag.Int("n", 15, "rounds")
	ms := flag.Int("ms", 300, "milliseconds of each measurement")
	idle := flag.Int("idle", 200, "containers of each kind whose memory is measured; 0 leaves it out")
	flag.Parse()
	if err := run(*rounds, *ms, *idle); err != nil {
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
	memory         []memory
}

var kinds = []struct{ name, what, unit string }{
	{"tcp", "TCP connect, accept, close", "/s"}, {"pair", "the same in one process", "/s"}, {"udp", "UDP ping-pong", "/s"}, {"bulk", "TCP bulk", " MB/s"},
}

type bench struct {
	rt      *harness.Runtime
	dir     string
	sockets string
}

func run(rounds, ms, idle int) error {
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
	joins := func(side string) string {
		return "linux.namespaces[type=network].path=/run/netns/" + b.ns(side)
	}
	arms := []*arm{
		{name: "host", server: []string{joins("h")}, client: []string{joins("h")}, address: "10.78.0.1", own: "10.78.0.3"},
		{name: "filter", server: []string{joins("h"), filter}, client: []string{joins("h"), filter}, address: "10.78.0.2", own: "10.78.0.4"},
		{name: "context", server: []string{joins("x"), context("10.78.0.1/24,10.78.0.2/24,fd78::1/64,fd78::2/64")},
			client: []string{joins("x"), context("10.78.0.3/24,10.78.0.4/24,fd78::3/64,fd78::4/64")}, address: "10.78.0.1", own: "10.78.0.3"},
		{name: "one address", server: []string{joins("y"), context("10.78.0.1/24")}, client: []string{joins("y"), context("10.78.0.3/24")}, address: "10.78.0.1", own: "10.78.0.3"},
		{name: "netns", server: []string{joins("s")}, client: []string{joins("c")}, address: "10.78.1.2", own: "10.78.1.3"},
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
				out, err := b.vsrun("exec", b.id(a, "client"), "/bin/sockets", "rate", k.name, addr+":"+strconv.Itoa(7000+i), strconv.Itoa(ms))
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
	print(arms, rounds, ms, idle)
	return nil
}

const annotation = `annotations."org.linux-vserver.`

const filter = `linux.seccomp={"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["kexec_load"],"action":"SCMP_ACT_ERRNO"}]}`

func context(addresses string) string { return annotation + `net.addresses"="` + addresses + `"` }

func (b *bench) ns(side string) string { return filepath.Base(b.dir) + side }

func (b *bench) id(a *arm, side string) string {
	return filepath.Base(b.dir) + strings.ReplaceAll(a.name, " ", "-") + side
}

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

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	return s[len(s)/2]
}

func least(list []memory, of func(memory) float64) float64 {
	v := of(list[0])
	for _, m := range list {
		v = min(v, of(m))
	}
	return v
}

// ratio is the median of what the first is to the second, round by round.
func ratio(a, b []float64) float64 {
	var r []float64
	for i := range a {
		r = append(r, a[i]/b[i])
	}
	return median(r)
}

func print(arms []*arm, rounds, ms, idle int) {
	fmt.Printf("medians of %d interleaved rounds of %d ms; to that of host, round by round; least CPU time of the client for each (bulk: KB)\n\n", rounds, ms)
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
	t.Flush()
	if idle == 0 {
		return
	}
	fmt.Printf("\nkernel memory of an idle container, of %d, least of %d times; and more than on the host\n\n", idle, len(arms[0].memory))
	for _, row := range []struct {
		name string
		of   func(memory) float64
	}{{"slab", func(m memory) float64 { return m.slab }}, {"per CPU", func(m memory) float64 { return m.percpu }}, {"page tables, vmalloc", func(m memory) float64 { return m.rest }}, {"all", memory.sum}} {
		fmt.Fprintf(t, "%s\t", row.name)
		for _, a := range arms {
			if len(a.memory) == 0 {
				fmt.Fprintf(t, "\t\t\t")
				continue
			}
			fmt.Fprintf(t, "%.0f KB\t%+.0f\t\t", least(a.memory, row.of), least(a.memory, row.of)-least(arms[0].memory, row.of))
		}
		fmt.Fprintln(t)
	}
	t.Flush()
}
