package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/tests/harness"
)

// setUp does what comes before the operation.
func (w *sweep) setUp() {
	w.t.Helper()
	if w.ready && (w.op.stays || w.op.keeps && w.kept == w.saved()) {
		return
	}
	_ = os.RemoveAll(w.images())
	if w.f.each != nil {
		w.f.each(w.scene)
	}
	for _, d := range w.f.cold {
		if err := os.RemoveAll(d); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, args := range w.op.before {
		w.must(w.args(args)...)
		if args[0] == "kill" && !harness.Poll(10*time.Second, func() bool { return w.state(w.id).Status == "stopped" }) {
			w.t.Fatal("killed, and not stopped")
		}
	}
	if w.op.stays {
		for w.during = nil; w.during == nil || len(harness.Changes(w.during, w.world())) > 0; time.Sleep(20 * time.Millisecond) {
			w.during = w.world() // its program may still be about to begin
		}
		w.ready, w.held = true, w.state(w.id)
	}
	if w.op.keeps {
		w.ready, w.kept = true, w.saved()
	}
}

// saved says what a checkpoint consists of.
func (w *sweep) saved() string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.images(), "*.img"))
	if err != nil {
		w.t.Fatal(err)
	}
	text := ""
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			w.t.Fatal(err)
		}
		text += fmt.Sprintln(filepath.Base(f), st.Size(), st.ModTime().UnixNano())
	}
	return text
}

func (w *sweep) tearDown() {
	w.t.Helper()
	if !w.op.stays {
		w.scene.gone(w.op.name)
	}
}

// try stops the operation once, and looks at what is left.
func (w *sweep) try(p place) {
	w.t.Helper()
	failed := w.t.Failed()
	begin := time.Now()
	w.setUp()
	where := fmt.Sprintf("%s %s at %s", w.f.name, w.op.name, p)
	begin = w.pace.on("what comes before", begin)
	var at time.Time
	defer func() {
		if d := time.Since(begin); d > 3*time.Second {
			fmt.Printf("note: %s took %v\n", where, d.Round(time.Millisecond))
		}
	}()
	res := w.stopped(p, w.op.args)
	if res.Code == 0 && w.op.after != nil {
		where += ", then " + w.op.after[0]
		next := p
		if p.inject != nil { // what follows is an operation of its own as to its calls
			next = place{}
		}
		res = w.stopped(next, w.op.after)
	}
	what := "the operations"
	if p.inject != nil {
		what += ", traced"
	}
	at = w.pace.on(what, begin)
	killed := res.Code == 128+int(unix.SIGKILL)
	// What dies when its program is next has run, as far as the caller knows, and so has what is recorded before that.
	died := res.Code == fault.DieStatus && strings.HasSuffix(p.order, "=die") && (w.op.name == "exec" || w.op.name == "exectracer" || w.op.name == "foreground")
	// A thread that can't leave the container's namespace again ends the process.
	trapped := canTrace && p.inject != nil && p.inject.at.nr == unix.SYS_SETNS && res.Stderr == ""
	// It could not say what it had to say.
	mute := canTrace && w.f.fails && p.inject != nil && p.inject.at.nr == unix.SYS_WRITE && res.Stderr == ""
	if res.Code != 0 && !killed && !died && !trapped && !mute {
		w.sane(where, res)
	}
	st := w.state(w.id)
	w.unharmed(where)
	at = w.pace.on("list and state", at)
	defer func() { w.pace.on("what is left", at) }()
	switch {
	case w.op.stays:
		if st != w.held {
			w.t.Errorf("%s: the container is %v, and was %v", where, st, w.held)
		}
		if diff := w.settle(w.during); len(diff) > 0 {
			w.t.Errorf("%s:\n\t%s", where, strings.Join(diff, "\n\t"))
		}
		if res := w.try1("exec", w.id, "/bin/true"); res.Code != 0 {
			w.t.Errorf("%s: exec afterwards: exit code %d: %s", where, res.Code, res.Stderr)
		}
		if w.t.Failed() && !failed {
			w.ready = false
			w.scene.gone(where)
		}
	case res.Code != 0 && !killed && w.op.before == nil:
		// What has failed by itself clears up by itself.
		if st.ID != "" && w.op.after == nil && !w.f.fails && w.op.name != "foreground" { // which may have failed to remove it
			w.t.Errorf("%s: the container is left, %s", where, st.Status)
		}
		w.scene.gone(where)
	default:
		w.scene.gone(where)
	}
	if w.op.keeps {
		if saved := w.saved(); saved != w.kept {
			w.t.Errorf("%s: the checkpoint has changed:\n%s\nwas:\n%s", where, saved, w.kept)
		}
	}
	if w.f.cold != nil {
		if res := w.try1(w.args(create)...); res.Code != 0 {
			w.t.Errorf("%s: the next container: exit code %d: %s", where, res.Code, res.Stderr)
		}
		w.scene.gone(where + ", the next container")
	}
	if w.t.Failed() && !failed {
		w.failures()
	}
}

// try1 is scene.try under a name that sweep has not taken.
func (w *sweep) try1(args ...string) harness.Result {
	w.t.Helper()
	return w.scene.try(args...)
}

// stopped runs a command with the fault.
func (w *sweep) stopped(p place, args []string) harness.Result {
	w.t.Helper()
	c := w.scene.call(w.args(args)...)
	var res harness.Result
	var err error
	if p.inject != nil {
		res, err = (&tracer{inject: p.inject, helpers: p.inject.helper}).run(c)
	} else {
		c.Env = append(slices.Clone(c.Env), fault.Orders+"="+p.order)
		res, err = rt.Run(c)
	}
	if err != nil {
		w.t.Errorf("%s at %s: %v", args[0], p, err)
	}
	return res
}
