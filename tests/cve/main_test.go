package cve

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

var (
	rt       *harness.Runtime
	attacker string // the program for inside the containers, built from ./attacker
	skip     string // why nothing can run here
	pureV2   bool   // the runtime needs a cgroup layout of its own
	rows     []row
	rowsMu   sync.Mutex
	table    = flag.Bool("table", false, "print a table of the attacks at the end")
)

// row is one line of the table.
type row struct{ id, what, bites, verdict, note string }

func TestMain(m *testing.M) {
	flag.Parse()
	harness.Main(func() (int, error) { return run(m) })
}

func run(m *testing.M) (int, error) {
	if !*table && !*bites {
		skip = "is run by `make cve`: the attacks run as root, and a runtime that falls for one lets it at this machine"
		return m.Run(), nil
	}
	if os.Geteuid() != 0 {
		skip = "needs root: real containers with namespaces, mounts and cgroups"
		return m.Run(), nil
	}
	if _, err := harness.Busybox(); err != nil {
		return 1, err
	}
	var err error
	if rt, err = harness.FindRuntime(); err != nil {
		return 1, err
	}
	dir, err := os.MkdirTemp("", "vsrun-cve")
	if err != nil {
		return 1, err
	}
	defer harness.RemoveTree(dir)
	if attacker = os.Getenv("VSRUN_CVE_ATTACKER"); attacker == "" {
		attacker = filepath.Join(dir, "attacker")
		if err := harness.BuildProgram(attacker, "github.com/vsrun/vsrun/tests/cve/attacker"); err != nil {
			return 1, err
		}
	}
	unix.Umask(0o022)
	if rt.Name != "vsrun" {
		if pureV2, err = rt.Adapt(dir); err != nil {
			return 1, err
		}
	}
	fmt.Printf("note: runtime under test: %s (%s), cgroups %s\n", rt.Path, rt.Name, harness.CgroupLayout())
	code := m.Run()
	if *table {
		printTable()
	}
	return code, nil
}

func printTable() {
	sort.SliceStable(rows, func(i, j int) bool { return rows[i].id < rows[j].id })
	fmt.Printf("\n%-8s %-18s %-58s %-24s %s\n", rt.Name, "ID", "ATTACK", "KNOWN TO FALL", "NOTE")
	for _, r := range rows {
		fmt.Printf("%-8s %-18s %-58s %-24s %s\n", r.verdict, r.id, r.what, r.bites, r.note)
	}
}

// place is where one attack happens: a bundle, a state root, and a victim folder of the host.
type place struct {
	*testing.T
	tag, dir, root, victim string
	env                    []string
	notes                  []string
	fell                   bool // the attack was a success
}

// attack begins a test. bites names the peer that fell for it as tried with the versions of Debian 12 (runc 1.1.5, crun
// 1.8.1), or says how else the test was shown to bite.
func attack(t *testing.T, id, what, bites string, edits ...string) *place {
	t.Helper()
	if skip != "" {
		t.Skip(skip)
	}
	// The go command's cache of test results sees what a test looks at, but not what TestMain does.
	_ = os.Getenv("RUNTIME")
	_, _ = os.Stat(rt.Path)
	var b [4]byte
	_, _ = rand.Read(b[:])
	p := &place{T: t, tag: "cve" + hex.EncodeToString(b[:]), dir: t.TempDir()}
	p.root, p.victim = filepath.Join(p.dir, "state"), filepath.Join(p.dir, "victim")
	p.env = []string{"PATH=" + os.Getenv("PATH"), harness.TagEnv + "=" + p.tag}
	p.check(os.Mkdir(p.victim, 0o755))
	p.check(os.WriteFile(filepath.Join(p.victim, "marker"), []byte("HOST-MARKER\n"), 0o644))
	p.bundle("b", edits...)
	t.Cleanup(func() {
		if rt.Name == "vsrun" && !t.Skipped() {
			for _, l := range harness.Leaks(p.tag, p.dir, p.root) {
				t.Errorf("left behind: %s", l)
			}
		}
		harness.Purge(p.tag, p.dir)
		verdict := "safe"
		switch {
		case p.fell:
			verdict = "FALLS"
		case t.Failed(): // what was tried came to no end
			verdict = "failed"
		case t.Skipped():
			verdict = "skipped"
		}
		rowsMu.Lock()
		defer rowsMu.Unlock()
		rows = append(rows, row{id, what, bites, verdict, strings.Join(p.notes, "; ")})
	})
	return p
}

// bundle makes one more bundle and returns its folder. DIR in an edit is the test's folder.
func (p *place) bundle(name string, edits ...string) string {
	p.Helper()
	dir := filepath.Join(p.dir, name)
	for i, e := range edits {
		edits[i] = strings.ReplaceAll(e, "DIR", p.dir) // this test's own folder
	}
	edits = append([]string{`process.env+="` + harness.TagEnv + "=" + p.tag + `"`, "linux.cgroupsPath=/" + p.tag + "-" + name}, edits...)
	p.check(harness.MakeBundle(dir, attacker, edits...))
	return dir
}

func (p *place) config(name string, edits ...string) {
	p.Helper()
	p.check(harness.EditFile(filepath.Join(p.dir, name, "config.json"), edits...))
}

func (p *place) path(names ...string) string {
	return filepath.Join(append([]string{p.dir}, names...)...)
}

func (p *place) check(err error) {
	p.Helper()
	if err != nil {
		p.Fatal(err)
	}
}

// note adds a remark to the table.
func (p *place) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// falls says that the attack was a success.
func (p *place) falls(format string, args ...any) {
	p.Helper()
	p.Errorf(format, args...)
	p.fell = true
	if len(p.notes) < 3 {
		p.note(format, args...)
	}
}

func (p *place) call(args ...string) harness.Call {
	return harness.Call{Args: append([]string{"--root", p.root}, args...), Env: p.env, PureV2: pureV2, Timeout: 2 * time.Minute}
}

// try calls the runtime; what it answers is for the test to judge.
func (p *place) try(args ...string) harness.Result {
	p.Helper()
	return p.do(p.call(args...))
}

func (p *place) do(c harness.Call) harness.Result {
	p.Helper()
	res, err := rt.Run(c)
	p.check(err)
	p.Logf("%s: exit code %d: %.300s%.300s", strings.Join(c.Args[2:], " "), res.Code, res.Stdout, res.Stderr)
	return res
}

func (p *place) must(args ...string) harness.Result {
	p.Helper()
	res := p.try(args...)
	if res.Code != 0 {
		p.Fatalf("%s: exit code %d: %s", strings.Join(args, " "), res.Code, res.Stderr)
	}
	return res
}

// detached runs a bundle in the background; its output goes to the file that is returned.
func (p *place) detached(name string) (id, out string) {
	p.Helper()
	id, out = p.tag+"-"+name, p.path(name+".out")
	c := p.call("run", "-d", "-b", p.path(name), id)
	c.Stdout = out
	if res := p.do(c); res.Code != 0 {
		p.Fatalf("run -d: exit code %d: %s", res.Code, res.Stderr)
	}
	return id, out
}

// run runs a bundle to its end and removes what is left of it.
func (p *place) run(name string) harness.Result {
	p.Helper()
	id := p.tag + "-" + name
	res := p.try("run", "-b", p.path(name), id)
	p.remove(id)
	return res
}

func (p *place) remove(id string) {
	if _, err := os.Stat(filepath.Join(p.root, id)); err == nil {
		_, _ = rt.Run(p.call("delete", "--force", id))
	}
}

func (p *place) pid(id string) int {
	p.Helper()
	var st struct{ Pid int }
	p.check(json.Unmarshal([]byte(p.must("state", id).Stdout), &st))
	return st.Pid
}

// unhurt checks that nothing was made, changed or removed in the victim folder.
func (p *place) unhurt() {
	p.Helper()
	var found []string
	entries, err := os.ReadDir(p.victim)
	if err != nil {
		p.falls("host folder is gone: %v", err)
		p.check(os.MkdirAll(p.victim, 0o755))
		p.check(os.WriteFile(filepath.Join(p.victim, "marker"), []byte("HOST-MARKER\n"), 0o644))
		return
	}
	for _, e := range entries {
		found = append(found, e.Name())
	}
	text, _ := os.ReadFile(filepath.Join(p.victim, "marker"))
	if strings.Join(found, " ") != "marker" || string(text) != "HOST-MARKER\n" {
		p.falls("host folder changed: %v", found)
	}
}

// swap exchanges two names until stop is called: what a container does to a volume that it shares.
func (p *place) swap(a, b string) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			default:
				_ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
			}
		}
	}()
	return func() { close(done); <-ended }
}

// rounds bounds a race, in number and in time: on a machine that is slow, races with many rounds have a minute or more.
func rounds(n int, f func(i int) bool) (done int) {
	if testing.Short() {
		n /= 10
	}
	end := time.Now().Add(max(15*time.Second, time.Duration(n)*300*time.Millisecond))
	for done = 0; done < n && time.Now().Before(end); done++ {
		if !f(done) {
			return done + 1
		}
	}
	return done
}

// tryDetached is detached for what may fail.
func (p *place) tryDetached(name string) harness.Result {
	p.Helper()
	c := p.call("run", "-d", "-b", p.path(name), p.tag+"-"+name)
	c.Stdout = p.path(name + ".out")
	return p.do(c)
}

// watch notes what happens to the files in some folders, by inotify(7); the names come when the function is called.
func (p *place) watch(mask uint32, dirs ...string) (names func() []string) {
	p.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	p.check(err)
	p.Cleanup(func() { unix.Close(fd) })
	for _, d := range dirs {
		_, err := unix.InotifyAddWatch(fd, d, mask)
		p.check(err)
	}
	return func() (names []string) {
		buf := make([]byte, 64<<10)
		n, _ := unix.Read(fd, buf)
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			// struct inotify_event: wd, mask, cookie, len, name
			event := binary.NativeEndian.Uint32(buf[at+4:])
			next := at + unix.SizeofInotifyEvent + int(binary.NativeEndian.Uint32(buf[at+12:]))
			name := strings.TrimRight(string(buf[at+unix.SizeofInotifyEvent:next]), "\x00")
			if name != "" && (event&unix.IN_ISDIR == 0 || mask&unix.IN_OPEN == 0) {
				names = append(names, name)
			}
			at = next
		}
		return names
	}
}
