package libvserver

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// schedule sets the policies that a process in a user namespace has no privilege for. It is in its cgroup by now, which
// decides if there is time for a real-time policy.
func (n *creation) schedule() error {
	for _, s := range n.plan.Scheduling {
		if err := launch.Schedule(n.process.PID, s); err != nil {
			return fmt.Errorf("%s: %s: %w", s.At(), s, err)
		}
	}
	return nil
}

// fromOutside sets for a process that is born in a new user namespace what needs privileges over the host: its
// oom_score_adj, and limits beyond the runtime's own. The process sets the limits again by itself, exactly, in its order.
func (n *creation) fromOutside() error {
	if p := n.bundle.Spec.Process; p != nil && p.OOMScoreAdj != nil {
		proc, err := host.OpenProc()
		if err == nil {
			err = host.WriteProc(proc, itoa(n.process.PID)+"/oom_score_adj", itoa(*p.OOMScoreAdj))
			unix.Close(proc)
		}
		if err != nil {
			return fmt.Errorf("process.oomScoreAdj: %w", err)
		}
	}
	for _, s := range n.plan.Steps {
		r, ok := s.(plan.Rlimit)
		if !ok {
			continue
		}
		var own unix.Rlimit
		if err := unix.Prlimit(0, r.Resource, nil, &own); err == nil && r.Hard <= own.Max {
			continue // the process may do that itself
		}
		if err := unix.Prlimit(n.process.PID, r.Resource, &unix.Rlimit{Cur: r.Soft, Max: r.Hard}, nil); err != nil {
			return fmt.Errorf("%s: %s: %w", r.At(), r, os.NewSyscallError("prlimit", err))
		}
	}
	return nil
}
