// Net compares the network of containers: some that have the host's network namespace to themselves, some with network
// contexts in one, and some with a namespace each behind a veth pair and a bridge. Client and server are two containers of
// the same kind. Every round runs all of them once, for a moment only, in an order that turns about, so that whatever else the
// machine does hits them all alike.
//
//	net [-n ROUNDS] [-ms MILLISECONDS] [-idle N] [-kinds KIND,...]
//
// It works in network namespaces that it makes for itself. What stands for the host's is one of its own, which no BPF program
// has ever been attached to; that of the contexts is like it. A context has two addresses of IPv4 and two of IPv6, so that
// all programs there are have their part; "one address" has one. "filter" is the host with a seccomp filter, which engines
// give every container and a context has, too: any filter at all makes system calls slower. Servers listen on 0.0.0.0.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/vsrun/vsrun/tests/harness"
)

const inside = "VSRUN_BENCH_NETNS"

func main() {
	rounds := flag.Int("n", 100, "rounds")
	ms := flag.Int("ms", 25, "milliseconds of each measurement")
	idle := flag.Int("idle", 200, "containers of each kind whose memory is measured; 0 leaves it out")
	only := flag.String("kinds", "", "what is measured, of tcp,pair,option,udp,bulk (default: all)")
	flag.Parse()
	if err := run(*rounds, *ms, *idle, *only); err != nil {
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
	rates          map[string][]float64
	memory         []memory
}

var kinds = []struct{ name, what string }{
	{"tcp", "TCP socket, connect, accept, close"}, {"pair", "the same in one process"}, {"option", "setsockopt"}, {"udp", "UDP ping-pong"}, {"bulk", "TCP bulk"},
}

type bench struct {
	rt      *harness.Runtime
	dir     string
	sockets string
}

func run(rounds, ms, idle int, only string) error {
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
		a.rates = map[string][]float64{}
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
	}
	for i, k := range kinds {
		if only != "" && !slices.Contains(strings.Split(only, ","), k.name) {
			continue
		}
		if err := b.measure(arms, k.name, 7000+100*i, rounds, ms); err != nil {
			return fmt.Errorf("%s: %w", k.what, err)
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

// ratios are what the first is to the second, round by round, in order.
func ratios(a, b []float64) []float64 {
	r := make([]float64, len(a))
	for i := range a {
		r[i] = a[i] / b[i]
	}
	slices.Sort(r)
	return r
}

func print(arms []*arm, rounds, ms, idle int) {
	fmt.Printf("medians of %d interleaved rounds of %d ms; of the ratios to host, round by round, with their quartiles; of those to filter\n\n", rounds, ms)
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t")
	for _, a := range arms {
		fmt.Fprintf(t, "%s\t\t\t", a.name)
	}
	fmt.Fprintln(t)
	for _, k := range kinds {
		if arms[0].rates[k.name] == nil {
			continue
		}
		fmt.Fprintf(t, "%s\t", k.what)
		for i, a := range arms {
			if rate := median(a.rates[k.name]); k.name == "bulk" {
				fmt.Fprintf(t, "%.2f GB/s\t", rate/1e9)
			} else {
				fmt.Fprintf(t, "%.2f µs\t", 1e6/rate)
			}
			r := ratios(a.rates[k.name], arms[0].rates[k.name])
			if i == 0 {
				fmt.Fprintf(t, "\t\t")
				continue
			}
			fmt.Fprintf(t, "%.3fx (%.2f-%.2f)\t", median(r), r[len(r)/4], r[len(r)*3/4])
			if i == 1 {
				fmt.Fprintf(t, "\t")
				continue
			}
			fmt.Fprintf(t, "%.3fx\t", median(ratios(a.rates[k.name], arms[1].rates[k.name])))
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
