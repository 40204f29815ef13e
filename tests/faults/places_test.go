package faults

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
)

// place is where something happens, and what.
type place struct {
	order  string     // for the build with faults: KIND:NAME#N=ACTION
	inject *injection // a system call of the runtime's own
	note   string
	like   string // the same for all that are stopped in the same way at the same place of the code
	detail bool
}

func (p place) String() string {
	if p.inject != nil {
		return p.inject.String()
	}
	return strings.TrimSpace(p.order + " " + p.note)
}

// Errnos that are tried: what a full disk, a full table and a broken device say.
var errnos = []unix.Errno{unix.EIO, unix.ENOSPC, unix.ENOMEM, unix.EMFILE, unix.EACCES}

// places asks the runtime, and the kernel, where it can be stopped.
func (w *sweep) places() map[string][]place {
	w.t.Helper()
	all := map[string][]place{}
	w.setUp()
	_ = os.Remove(w.trace)
	c := w.scene.call(w.args(w.op.args)...)
	c.Env = append(slices.Clone(c.Env), fault.Trace+"="+w.trace)
	if res, err := rt.Run(c); err != nil || res.Code != 0 != w.f.fails {
		w.t.Fatalf("%s: exit code %d, %v: %s", w.op.name, res.Code, err, res.Stderr)
	}
	text, err := os.ReadFile(w.trace)
	if err != nil {
		w.t.Fatal(err)
	}
	n := 0
	alike := map[string]int{} // steps that say the same are told apart by their order
	general := strings.NewReplacer(filepath.Join(w.dir, w.f.name), bundleWord, w.id, idWord)
	for line := range strings.Lines(string(text)) {
		where, note, _ := strings.Cut(strings.TrimSpace(line), "\t")
		note, _, _ = strings.Cut(note, "\t")
		kind, name, _ := strings.Cut(where, ":")
		errno := errnos[n%len(errnos)]
		n++
		add := func(what, action string) {
			like := strings.Join([]string{what, w.op.family(), general.Replace(note)}, "\t")
			switch kind {
			case "point":
				like = strings.Join([]string{what, w.op.name, name}, "\t")
			case "insn", "hook":
				like = strings.Join([]string{what, general.Replace(note)}, "\t") // whatever has compiled it
				fallthrough
			default:
				alike[like]++
				like += fmt.Sprint("\t", alike[like])
			}
			all[what] = append(all[what], place{order: where + "=" + action, note: note, like: like, detail: strings.HasPrefix(what, "insn")})
		}
		switch kind {
		case "point":
			point, _, _ := strings.Cut(name, "#")
			w.reached[point] = true
			add("point kill", "kill")
		case "step":
			add("step kill", "kill")
			add("step die", "die")
			add("step errno", strconv.Itoa(int(errno)))
		case "outside":
			add("step kill", "kill")
			add("step errno", strconv.Itoa(int(errno)))
		case "insn", "hook":
			add("insn errno", strconv.Itoa(int(errno)))
			add("insn die", "die")
		}
	}
	if len(all["point kill"]) == 0 {
		w.t.Errorf("%s passes no point", w.op.name)
	}
	w.tearDown()
	if !canTrace || w.f.prefix != nil {
		return all
	}
	w.setUp()
	tr := tracer{helpers: true, paths: map[tracedCall]uint64{}, awaits: map[syscallAt]bool{}}
	if res, err := tr.run(w.scene.call(w.args(w.op.args)...)); err != nil || res.Code != 0 != w.f.fails {
		w.t.Fatalf("%s, traced: exit code %d, %v: %s", w.op.name, res.Code, err, res.Stderr)
	}
	calls := func(kind string, list []syscallAt, helper bool) {
		for _, at := range list {
			errno := errnos[n%len(errnos)]
			n++
			path := fmt.Sprintf("%s\t%d\t%x", kind, at.nr, tr.paths[tracedCall{helper, at}])
			detail := alike[path] > 0
			if alike[path]++; detail {
				path += "\tmore"
			}
			all[kind+" kill"] = append(all[kind+" kill"], place{inject: &injection{at: at, helper: helper}, like: path + "\tkill", detail: detail})
			if tr.awaits[at] && !helper {
				continue // a pipe's read does not fail, and Go would wait for the end of a program that waits for its input
			}
			switch at.nr {
			case unix.SYS_CLOSE, unix.SYS_WAIT4, unix.SYS_FCHDIR:
				continue // they never fail where they are used, and what is not closed, reaped or left holds others up
			}
			all[kind+" errno"] = append(all[kind+" errno"], place{inject: &injection{at: at, errno: errno, helper: helper}, like: path + "\terrno", detail: detail})
		}
	}
	calls("call", tr.calls, false)
	calls("helper's call", tr.helped, true)
	w.tearDown()
	return all
}

// anyOf leaves n places of all.
func anyOf(kinds map[string][]place, n int, rng *rand.Rand) map[string][]place {
	left := map[string][]place{}
	names := slices.Sorted(maps.Keys(kinds))
	for range n {
		kind := names[rng.IntN(len(names))]
		left[kind] = []place{kinds[kind][rng.IntN(len(kinds[kind]))]}
	}
	return left
}
