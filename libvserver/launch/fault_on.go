//go:build faults

package launch

import (
	"fmt"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// kindFault: whoever reads this message kills itself.
const kindFault = 15

// faultAtStep has what is ordered happen before step i of the plan. The trace has what it says, and its type.
func faultAtStep(c *compiler, i int) {
	s := c.Program.steps[i]
	a, ok := fault.Reach("step", strconv.Itoa(i), fmt.Sprintf("%s\t%T", s, s))
	switch {
	case !ok:
	case a.Kill:
		c.emit(opTell, "fault", val(kindFault), val(0))
	case a.Die:
		c.call(unix.SYS_EXIT_GROUP, "fault", val(fault.DieStatus))
	default:
		c.fail(a.Errno, "fault")
	}
}

// faultState is a part of Program.
type faultState struct{ faults int }

var hookPrograms atomic.Int32

// faultAtInsn has an instruction fail. A program is shown to it as often as it has grown.
func faultAtInsn(p *Program, kind string) {
	prefix := ""
	if kind == "hook" { // each has a program of its own
		prefix = strconv.Itoa(int(hookPrograms.Add(1))) + "."
	}
	for ; p.faults < len(p.code); p.faults++ {
		in := &p.code[p.faults]
		if in.op != opCall && in.op != opBound && in.op != opAwait && in.op != opReady {
			continue
		}
		a, ok := fault.Reach(kind, prefix+strconv.Itoa(p.faults), callName(in)+" "+p.what[p.faults])
		switch {
		case !ok:
		case a.Die:
			in.op, in.nr, in.arg[0], in.slots, in.rules = opCall, unix.SYS_EXIT_GROUP, fault.DieStatus, 0, 0
		case a.Errno != 0:
			in.op, in.arg[0], in.slots = opFail, uintptr(a.Errno), 0
		}
	}
}

// faultOutside has what is ordered happen before a step that the runtime takes for its process.
func faultOutside(s plan.Step) error {
	a, ok := fault.Reach("outside", "step", fmt.Sprintf("%s\t%T", s, s))
	switch {
	case !ok:
		return nil
	case a.Errno != 0:
		return a.Errno
	}
	fault.Die()
	return nil
}

func faulted(m *message) {
	if m.Kind == kindFault {
		fault.Die()
	}
}
