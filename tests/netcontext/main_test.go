// Package netcontext tests network contexts with real servers and clients. Everything happens in a network namespace that
// the tests make for themselves, with a second one at the other end of a veth pair as the rest of the world:
//
//	host   v0: 10.77.0.1 to .9, fd77::1 to ::9     the guests' addresses, and the host's own
//	world  v1: 10.77.0.100, fd77::100
//
// It must not import anything of the runtime.
package netcontext

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

const inside = "VSRUN_TEST_NETNS"

var (
	rt      *harness.Runtime
	sockets string // the program for inside the guests
	world   string // path of the world's network namespace
	skip    string
)

func TestMain(m *testing.M) {
	flag.Parse()
	harness.Main(func() (int, error) { return run(m) })
}

func run(m *testing.M) (int, error) {
	if os.Geteuid() != 0 {
		skip = "needs root: network namespaces and BPF"
		return m.Run(), nil
	}
	if os.Getenv(inside) == "" {
		self, err := os.Executable()
		if err != nil {
			return 1, err
		}
		cmd := exec.Command(self, os.Args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.Env = append(os.Environ(), inside+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		err = cmd.Run()
		if rt, err := harness.FindRuntime(); err == nil && rt.Name == "vsrun" { // what is pinned for the network namespace that was
			_ = exec.Command(rt.Path, "net", "gc").Run()
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return exit.ExitCode(), nil
		}
		return 0, err
	}
	var err error
	if rt, err = harness.FindRuntime(); err != nil {
		return 1, err
	}
	if rt.Name != "vsrun" {
		skip = rt.Name + " has no network contexts"
		return m.Run(), nil
	}
	dir, err := os.MkdirTemp("", "vsrun-net")
	if err != nil {
		return 1, err
	}
	defer harness.RemoveTree(dir)
	sockets = filepath.Join(dir, "sockets")
	if err := harness.BuildProgram(sockets, "github.com/vsrun/vsrun/tests/cmd/sockets"); err != nil {
		return 1, err
	}
	unix.Umask(0o022)
	stop, err := makeWorld()
	defer stop()
	if err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// makeWorld configures both network namespaces.
func makeWorld() (stop func(), err error) {
	w := exec.Command("sleep", "1000000")
	w.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := w.Start(); err != nil {
		return func() {}, err
	}
	stop = func() {
		_ = w.Process.Kill()
		_ = w.Wait()
	}
	pid := strconv.Itoa(w.Process.Pid)
	world = "/proc/" + pid + "/ns/net"
	ip := func(in bool, args string) error {
		argv := append([]string{"ip"}, strings.Fields(args)...)
		if in {
			argv = append([]string{"nsenter", "--net=" + world}, argv...)
		}
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, out)
		}
		return nil
	}
	steps := []struct {
		in   bool
		args string
	}{
		{false, "link set lo up"}, {false, "link add v0 type veth peer name v1 netns " + pid}, {false, "link set v0 up"}, {true, "link set lo up"}, {true, "link set v1 up"},
		{true, "addr add 10.77.0.100/24 dev v1"}, {true, "-6 addr add fd77::100/64 dev v1 nodad"},
	}
	for i := 1; i <= 9; i++ {
		n := strconv.Itoa(i)
		steps = append(steps, struct {
			in   bool
			args string
		}{false, "addr add 10.77.0." + n + "/24 dev v0"}, struct {
			in   bool
			args string
		}{false, "-6 addr add fd77::" + n + "/64 dev v0 nodad"})
	}
	for _, s := range steps {
		if err := ip(s.in, s.args); err != nil {
			return stop, err
		}
	}
	return stop, nil
}

// place is where a test's guests are.
type place struct {
	t    *testing.T
	dir  string
	root string
	tag  string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
	// The go command's cache of test results has to see these.
	_ = os.Getenv("RUNTIME")
	_, _ = os.Stat(rt.Path)
	p := &place{t: t, dir: t.TempDir(), tag: "vnet" + strconv.Itoa(os.Getpid()) + strings.ToLower(t.Name())}
	p.tag = strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '-'
		}
		return r
	}, p.tag)
	p.root = filepath.Join(p.dir, "root")
	t.Cleanup(func() { harness.Purge(p.tag, p.dir) })
	return p
}

func (p *place) call(args ...string) harness.Call {
	return harness.Call{Args: append([]string{"--root", p.root}, args...), Env: []string{"PATH=" + os.Getenv("PATH"), harness.TagEnv + "=" + p.tag}}
}

func (p *place) try(args ...string) harness.Result {
	p.t.Helper()
	return rt.Try(p.t, p.call(args...))
}

func (p *place) must(args ...string) harness.Result {
	p.t.Helper()
	return rt.Must(p.t, p.call(args...))
}

// end checks that nothing is left.
func (p *place) end() {
	p.t.Helper()
	for _, l := range harness.Leaks(p.tag, p.dir, p.root) {
		p.t.Errorf("left behind: %s", l)
	}
	entries, _ := filepath.Glob("/run/vsrun-net/[0-9]*")
	for _, e := range entries {
		if b, _ := os.ReadFile(e); strings.Contains(string(b), p.root) {
			p.t.Errorf("left behind: %s:\n%s", e, b)
		}
	}
}

// guest is a container with a network context.
type guest struct {
	p   *place
	id  string
	dir string
}

const annotation = `annotations."org.linux-vserver.`

// bundle makes a guest's bundle. Its program waits; servers come by exec.
func (p *place) bundle(name, addresses string, edits ...string) *guest {
	p.t.Helper()
	g := &guest{p, p.tag + "." + name, filepath.Join(p.dir, name)}
	all := []string{`process.env+="` + harness.TagEnv + "=" + p.tag + `"`, "-linux.namespaces[type=network]", "root.readonly=false", "args:/bin/sleep 100000"}
	if addresses != "" {
		all = append(all, annotation+`net.addresses"="`+addresses+`"`)
	}
	if err := harness.MakeBundle(g.dir, "", append(all, edits...)...); err != nil {
		p.t.Fatal(err)
	}
	if err := os.Link(sockets, filepath.Join(g.dir, "rootfs/bin/sockets")); err != nil {
		b, err := os.ReadFile(sockets)
		if err == nil {
			err = os.WriteFile(filepath.Join(g.dir, "rootfs/bin/sockets"), b, 0o755)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	return g
}

func (p *place) guest(name, addresses string, edits ...string) *guest {
	p.t.Helper()
	g := p.bundle(name, addresses, edits...)
	p.must("run", "-d", "-b", g.dir, g.id)
	p.t.Cleanup(func() { p.try("delete", "--force", g.id) })
	return g
}

func (g *guest) delete() {
	g.p.t.Helper()
	g.p.must("delete", "--force", g.id)
}

// in runs the sockets program in the guest, and returns what it printed.
func (g *guest) in(args ...string) string {
	g.p.t.Helper()
	return g.exec(append([]string{"/bin/sockets"}, args...)...)
}

func (g *guest) exec(args ...string) string {
	g.p.t.Helper()
	res := g.p.try(append([]string{"exec", g.id}, args...)...)
	return strings.TrimSpace(res.Stdout + res.Stderr)
}

// serve starts a server in the guest and waits until it is ready; it returns the address that the server sees.
func (g *guest) serve(args ...string) string {
	g.p.t.Helper()
	out := filepath.Join(g.p.dir, "serve"+strconv.FormatInt(time.Now().UnixNano(), 36))
	c := g.p.call(append([]string{"exec", "-d", g.id, "/bin/sockets"}, args...)...)
	c.Stdout = out
	res, err := rt.Run(c)
	if err != nil || res.Code != 0 {
		g.p.t.Fatalf("%v: %v %s", args, err, res.Stderr)
	}
	var text string
	harness.Poll(5*time.Second, func() bool {
		b, _ := os.ReadFile(out)
		text = strings.TrimSpace(string(b))
		return text != ""
	})
	return text
}

// shared is an edit that mounts one directory at /mnt of each guest that gets it.
func (p *place) shared() string {
	dir := filepath.Join(p.dir, "share")
	if err := os.Mkdir(dir, 0o777); err != nil {
		p.t.Fatal(err)
	}
	return `mounts+={"destination":"/mnt","source":"` + dir + `","options":["rbind","rw"]}`
}

// host runs the sockets program outside of all guests.
func (p *place) host(args ...string) string { return p.outside(nil, args) }

// world runs it in the other network namespace.
func (p *place) world(args ...string) string {
	return p.outside([]string{"nsenter", "--net=" + world}, args)
}

func (p *place) outside(prefix, args []string) string {
	p.t.Helper()
	res, err := rt.Run(harness.Call{Path: sockets, Args: args, Prefix: prefix})
	if err != nil {
		p.t.Fatal(err)
	}
	return strings.TrimSpace(res.Stdout + res.Stderr)
}

// listenFile makes a listening socket and returns it as a file.
func listenFile(addr string) (*os.File, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	return l.(*net.TCPListener).File()
}

// worldServer starts a server in the world.
func worldServer(t *testing.T, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command("nsenter", append([]string{"--net=" + world, sockets}, args...)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 100)); err != nil { // "ready"
		t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
