package conformance

import (
	_ "embed" // the script
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

var (
	printTable = flag.Bool("table", false, "print the table of results at the end")
	patience   = flag.Duration("program-timeout", 180*time.Second, "how long a program may take")
)

//go:embed run.sh
var script string

// layout is a layout of cgroups that the suite runs in.
type layout struct {
	name    string
	v2      bool
	private bool // a mount namespace with nothing but cgroup2
}

// layouts are the host's own, and where that is not cgroup2 alone a private one that is.
func layouts() []layout {
	const cgroup2 = 0x63677270
	var st syscall.Statfs_t
	if syscall.Statfs("/sys/fs/cgroup", &st) == nil && st.Type == cgroup2 {
		return []layout{{name: "v2", v2: true}}
	}
	name := "v1"
	if syscall.Statfs("/sys/fs/cgroup/unified", &st) == nil && st.Type == cgroup2 {
		name = "hybrid"
	}
	return []layout{{name: name}, {name: "v2", v2: true, private: true}}
}

// results are the cells of the table, by program and layout.
var (
	results   = map[string]map[string]string{}
	resultsMu sync.Mutex
)

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	if *printTable && len(results) > 0 {
		fmt.Print(formatTable())
	}
	os.Exit(code)
}

func TestSuite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: containers with all namespaces, mounts, cgroups")
	}
	rt := findRuntime(t)
	// The programs share names of cgroups: one run at a time on a machine.
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "vsrun-conformance.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lock.Close() })
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layouts() {
		t.Run(l.name, func(t *testing.T) {
			// Most of the time a program sleeps. Those with fixed names of cgroups run in one layout alone.
			t.Parallel()
			for _, r := range table {
				t.Run(r.name, func(t *testing.T) { runRow(t, rt, dir, r, l) })
			}
		})
	}
}

func runRow(t *testing.T, rt *runtimeUnderTest, dir string, r row, l layout) {
	cell := func(s string) {
		resultsMu.Lock()
		defer resultsMu.Unlock()
		if results[r.name] == nil {
			results[r.name] = map[string]string{}
		}
		results[r.name][l.name] = s
	}
	v := r.verdict(l)
	if v.out != "" {
		cell("out")
		t.Skip(v.out)
	}
	e := expectation{silent: r.silent, except: v.except}
	var complaint string
	// The programs give a container ten seconds, which may be too few on a machine that is busy or emulated.
	late := func() bool { return strings.Contains(complaint, "timeout in waiting for the container status") }
	for try := 0; try < max(r.tries, 1) || late() && try < 4; try++ {
		o := rt.run(t, dir, r, l)
		complaint = judge(e, o)
		word := "pass"
		switch {
		case complaint != "":
			word = "FAIL"
		case len(v.except) > 0:
			word = "except"
		}
		if !r.silent {
			word += " " + o.String()
		}
		if try > 0 {
			word += fmt.Sprintf(" (try %d)", try+1)
		}
		cell(word)
		if complaint == "" {
			return
		}
	}
	if rt.name != "vsrun" {
		t.Skipf("%s does otherwise: %s", rt.name, strings.ReplaceAll(complaint, "\n", "; "))
	}
	t.Error(complaint)
}

// runtimeUnderTest is the runtime's binary, with what its wrapper needs.
type runtimeUnderTest struct {
	path, name string
	oldSpec    bool // refuses an ociVersion of 1.3
}

func findRuntime(t *testing.T) *runtimeUnderTest {
	t.Helper()
	name := os.Getenv("RUNTIME")
	if name == "" {
		name = filepath.Join("..", "..", "vsrun")
		if _, err := os.Stat(name); err != nil {
			t.Fatalf("%v: run make, or name another runtime by RUNTIME=", err)
		}
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	if path, err = filepath.Abs(path); err != nil {
		t.Fatal(err)
	}
	version, err := exec.Command(path, "--version").Output()
	if err != nil {
		t.Fatalf("%s --version: %v", path, err)
	}
	first, _, _ := strings.Cut(string(version), " ")
	return &runtimeUnderTest{path: path, name: first, oldSpec: first == "crun" && strings.Contains(string(version), "spec: 1.0.0")}
}

// wrapper is a script that adds what the suite has no way to pass on.
func (rt *runtimeUnderTest) wrapper(scratch string) string {
	s := "#!/bin/sh\necho \"$*\" >>" + scratch + "/calls\n"
	if rt.oldSpec {
		s += "test \"$1\" = create && for d in " + scratch + "/tmp/*; do sed -i 's/\"1\\.3\\.0\"/\"1.0.2\"/' \"$d/config.json\" 2>/dev/null; done\n"
	}
	return s + "exec " + rt.path + " --root " + scratch + "/state \"$@\"\n"
}

func (rt *runtimeUnderTest) run(t *testing.T, dir string, r row, l layout) outcome {
	t.Helper()
	program := r.name
	scratch, err := os.MkdirTemp("", "oci")
	if err != nil {
		t.Fatal(err)
	}
	// Containers with user namespaces must come through to their bundles.
	if err := os.Chmod(scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.RemoveAll(scratch); err != nil {
			t.Error(err)
		}
	}()
	if err := os.WriteFile(filepath.Join(scratch, "rt"), []byte(rt.wrapper(scratch)), 0o755); err != nil {
		t.Fatal(err)
	}
	name := "host"
	if l.private {
		name = "v2-private"
	}
	args := []string{name, program, scratch, strconv.Itoa(int(patience.Seconds()))}
	for _, c := range r.mounts {
		if !mounted(c) {
			args = append(args, c)
		}
	}
	cmd := exec.Command("unshare", "--mount", "--ipc", "--propagation", "private", "sh", "-c", script, "run.sh")
	cmd.Args = append(cmd.Args, args...)
	cmd.Dir = dir
	// Whoever is left over from a program must not keep the test waiting: no pipes.
	if err := cmd.Run(); err != nil {
		t.Fatalf("the script that runs %s: %v", program, err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(filepath.Join(scratch, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	o := parse(read("stdout"))
	o.stderr = read("stderr")
	if o.exit, err = strconv.Atoi(strings.TrimSpace(read("exit"))); err != nil {
		t.Fatal(err)
	}
	o.timeout = o.exit == 124 || o.exit == 137
	for line := range strings.Lines(read("leaks")) {
		o.leaks = append(o.leaks, strings.TrimSpace(line))
	}
	if testing.Verbose() {
		t.Logf("%s%s", read("stdout"), o.stderr)
	}
	return o
}

// formatTable prints a line a program, and the reasons below.
func formatTable() string {
	var b strings.Builder
	ls := layouts()
	fmt.Fprintf(&b, "%-32s", "program")
	for _, l := range ls {
		fmt.Fprintf(&b, " %-16s", l.name)
	}
	counts := map[string]map[string]int{}
	b.WriteString("\n")
	for _, r := range table {
		if results[r.name] == nil {
			continue
		}
		line := fmt.Sprintf("%-32s", r.name)
		for _, l := range ls {
			cell := results[r.name][l.name]
			line += fmt.Sprintf(" %-16s", cell)
			word, _, _ := strings.Cut(cell, " ")
			if counts[l.name] == nil {
				counts[l.name] = map[string]int{}
			}
			counts[l.name][word]++
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	for _, l := range ls {
		c := counts[l.name]
		fmt.Fprintf(&b, "%s: %d pass, %d pass except, %d out, %d fail\n", l.name, c["pass"], c["except"], c["out"], c["FAIL"])
	}
	b.WriteString("\nnot a plain pass:\n")
	for _, r := range table {
		told := map[string]bool{}
		for _, l := range ls {
			v := r.verdict(l)
			why := v.why
			if v.out != "" {
				why = v.out
			}
			if why != "" && !told[why] && results[r.name] != nil {
				told[why] = true
				fmt.Fprintf(&b, "  %s, %s: %s\n", r.name, l.name, why)
			}
		}
	}
	return b.String()
}
