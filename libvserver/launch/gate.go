package launch

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Load gives the child the rest of its program, if it has not got that with its own copy of the memory, and lets it go
// on. It is to be called once.
func (p *Process) Load() error {
	if p.c != nil {
		if err := p.compile(); err != nil {
			return err
		}
		p.publish()
	}
	if p.shared {
		return p.open(gateLoaded)
	}
	return p.let()
}

// Recorded lets the child pass plan.StageRecorded, if it shares memory. Another one tells when it is there.
func (p *Process) Recorded() error {
	if !p.shared {
		return nil
	}
	return p.open(gateRecorded)
}

// Shared tells if the child shares the runtime's memory. It needs the upper layer of an overlay (plan.Overlay.Dir) only by the time
// of UpperMade, another one by that of Load.
func (p *Process) Shared() bool { return p.shared }

// UpperMade lets a child that shares memory mount its overlay.
func (p *Process) UpperMade() error { return p.open(gateUpper) }

// open opens a gate.
func (p *Process) open(gate int) error {
	if atomic.SwapUint32(&p.m.gate[gate], open) != asleep {
		return nil // it looks for itself
	}
	return p.let()
}

// let lets a child go on that waits for a message. One that could not make its namespaces is gone, and has said so: Next
// tells.
func (p *Process) let() error {
	if err := p.Continue(""); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
		return err
	}
	return nil
}

// looks bounds how often somebody looks for what another CPU is at, some 0.2 µs each, before it sleeps.
const looks = 3000
