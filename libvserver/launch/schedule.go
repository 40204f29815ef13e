package launch

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// whoProcess is IOPRIO_WHO_PROCESS (ioprio_set(2)).
const whoProcess = 1

// ioPriority is what ioprio_set(2) takes: the class above 13 bits of priority.
func ioPriority(s plan.IOPriority) int { return s.Class<<13 | s.Priority }

func schedAttr(s plan.Scheduler) unix.SchedAttr {
	return unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: s.Policy, Flags: s.Flags, Nice: s.Nice, Priority: s.Priority,
		Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period, Util_min: s.UtilClampMin, Util_max: s.UtilClampMax}
}

func (c *compiler) scheduler(s plan.Scheduler) {
	a, at := place[unix.SchedAttr](c.Program)
	*a = schedAttr(s)
	c.call(unix.SYS_SCHED_SETATTR, "sched_setattr", val(0), val(at), val(0))
}

// Schedule carries out a step of a plan's Scheduling for another process.
func Schedule(pid int, s plan.Step) error {
	if fault.On {
		if err := faultOutside(s); err != nil {
			return err
		}
	}
	switch s := s.(type) {
	case plan.Scheduler:
		a := schedAttr(s)
		if err := unix.SchedSetAttr(pid, &a, 0); err != nil {
			return fmt.Errorf("sched_setattr%s: %w", realTimeHint(s, err), err)
		}
		return nil
	case plan.IOPriority:
		_, _, e := unix.Syscall(unix.SYS_IOPRIO_SET, whoProcess, uintptr(pid), uintptr(ioPriority(s)))
		if e != 0 {
			return os.NewSyscallError("ioprio_set", e)
		}
		return nil
	}
	return fmt.Errorf("no way to carry out a %T for another process", s)
}

// realTimeHint: with CONFIG_RT_GROUP_SCHED a cgroup has no time for real-time policies of its own accord.
func realTimeHint(s plan.Scheduler, err error) string {
	const fifo, roundRobin = 1, 2
	if err == unix.EPERM && (s.Policy == fifo || s.Policy == roundRobin) {
		return " (needs CAP_SYS_NICE and, on cgroup v1, linux.resources.cpu.realtimeRuntime)"
	}
	return ""
}
