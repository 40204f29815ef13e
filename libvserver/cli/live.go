package cli

import (
	"errors"
	"strconv"
	"time"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// liveVerbs is what the commands for running containers ask of libvserver.Runtime.
type liveVerbs interface {
	Pause(id string) error
	Resume(id string) error
	Update(o *libvserver.UpdateOptions) error
	Pids(id string) ([]int, error)
	Processes() ([]libvserver.Process, error)
	Stats(id string) (*libvserver.Event, error)
	Events(id string, interval time.Duration, emit func(*libvserver.Event) error) error
	Stat(ids ...string) ([]libvserver.Stat, error)
	Limits(ids ...string) ([]libvserver.LimitReport, error)
	SweepNetContexts() (netcontext.Leftovers, error)
	NetContexts() ([]libvserver.NetReport, error)
	NetContext(id string) (*libvserver.NetReport, error)
	Checkpoint(o *libvserver.CheckpointOptions) error
	Restore(o *libvserver.RestoreOptions) (status int, err error)
}

// duration defines a flag that is a time like 5s or 1m30s; a bare number is of seconds.
func (f *flags) duration(p *time.Duration, names, usage string) {
	f.all = append(f.all, option{names: names, usage: usage, before: p.String(), to: (*duration)(p), value: true})
}

type duration time.Duration

func (d *duration) Set(s string) error {
	v, err := time.ParseDuration(s)
	if err != nil {
		n, nerr := strconv.ParseFloat(s, 64)
		if nerr != nil {
			return errors.New("parse error")
		}
		v = time.Duration(n * float64(time.Second))
	}
	*d = duration(v)
	return nil
}
