package state

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Paused is the state of a container whose cgroup is frozen: not one of
// runtime-spec's, which allows more ("Any other value represents a new state").
const Paused specs.ContainerState = "paused"

// Status tells a container's state, and the pid of its first process, 0 if it
// is stopped. frozen tells whether a container that runs is paused; nil stands
// for never. No lock is taken, and no state is remembered: it follows from the
// process, the FIFO, and while a container is made the lock on its directory.
//
// A container whose create was cut short is stopped, or still creating if a
// process of it is left.
func (s *Store) Status(rec *Record, frozen func(*Record) bool) (specs.ContainerState, int) {
	alive := Alive(rec.InitPid, rec.InitStart)
	switch {
	case rec.Creating && alive:
		return specs.StateCreating, rec.InitPid
	case rec.Creating && s.locked(rec.ID):
		return specs.StateCreating, 0
	case !alive:
		return specs.StateStopped, 0
	case frozen != nil && frozen(rec):
		return Paused, rec.InitPid
	case rec.ExecFifo != "" && unix.Faccessat(unix.AT_FDCWD, s.Path(rec.ID)+"/"+rec.ExecFifo, unix.F_OK, 0) == nil:
		return specs.StateCreated, rec.InitPid
	default:
		return specs.StateRunning, rec.InitPid
	}
}
