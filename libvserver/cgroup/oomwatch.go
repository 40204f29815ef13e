package cgroup

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Watch waits for what happens in a cgroup: processes killed for want of memory, and the last process gone.
//
// Version 2 announces both by POLLPRI on memory.events and cgroup.events. Version 1 announces that memory has run out by
// an eventfd (cgroup-v1/memory.rst, "OOM Control"), also where the OOM killer is disabled, and nothing of the processes.
type Watch struct {
	m      *Manager
	memory int // memory.events or the eventfd, -1 if memory is not accounted
	v1     bool
	events int // cgroup.events, -1 on pure version 1
	kills  uint64
}

// Watch begins to watch. Where memory is not accounted no kill will be told of; Memory says so.
func (m *Manager) Watch() (*Watch, error) {
	if len(m.dirs) == 0 {
		return nil, ErrNoCgroup
	}
	w := &Watch{m: m, memory: -1, events: -1}
	var err error
	if d := m.dirOf(""); d != nil {
		if w.events, err = open(d.path+"/cgroup.events", unix.O_RDONLY); err != nil {
			return nil, opError("", "open", d.path+"/cgroup.events", err)
		}
	}
	if d := m.dirFor("memory"); d != nil && d.v2() {
		w.memory, err = open(d.path+"/memory.events", unix.O_RDONLY)
		if err == unix.ENOENT {
			w.memory, err = -1, nil
		}
	} else if d != nil {
		w.v1 = true
		w.memory, err = notifyOOM(d.path)
	}
	if err != nil {
		w.Close()
		return nil, err
	}
	w.kills, _ = m.OOMKills()
	return w, nil
}

// notifyOOM asks version 1 for an eventfd.
func notifyOOM(path string) (int, error) {
	control, err := open(path+"/memory.oom_control", unix.O_RDONLY)
	if err != nil {
		return -1, opError("", "open", path+"/memory.oom_control", err)
	}
	defer unix.Close(control) // the kernel holds it
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, os.NewSyscallError("eventfd", err)
	}
	if err := writeFile(path+"/cgroup.event_control", itoa(fd)+" "+itoa(control)); err != nil {
		unix.Close(fd)
		return -1, opError("", "write to", path+"/cgroup.event_control", err)
	}
	return fd, nil
}

// Memory reports whether memory is accounted, so that kills can be told of.
func (w *Watch) Memory() bool { return w.memory >= 0 }

// Wait waits until something has happened, at most as long as timeout, or until the descriptor also, if that is not
// negative, can be read, and then returns true as its second value. oom says that memory has run out since the last
// call.
func (w *Watch) Wait(timeout time.Duration, also int) (oom, readable bool, err error) {
	fds := [...]unix.PollFd{
		{Fd: int32(w.memory), Events: unix.POLLPRI}, {Fd: int32(w.events), Events: unix.POLLPRI}, {Fd: int32(also), Events: unix.POLLIN},
	}
	if w.v1 {
		fds[0].Events = unix.POLLIN
	}
	ms := int(max(0, timeout)+time.Millisecond-1) / int(time.Millisecond)
	if _, err := unix.Poll(fds[:], ms); err != nil && err != unix.EINTR {
		return false, false, os.NewSyscallError("poll", err)
	}
	if fds[1].Revents != 0 {
		var buf [256]byte
		_, _ = unix.Pread(w.events, buf[:], 0) // or it would be announced again
	}
	if fds[0].Revents != 0 {
		oom = w.out()
	}
	return oom, fds[2].Revents != 0, nil
}

// out reports whether memory has run out since the last call.
func (w *Watch) out() bool {
	if w.memory < 0 {
		return false
	}
	if w.v1 {
		var buf [8]byte
		_, err := unix.Read(w.memory, buf[:])
		// The removal of a cgroup is announced in the same way.
		return err == nil && w.m.Exists()
	}
	var buf [1024]byte
	n, err := unix.Pread(w.memory, buf[:], 0)
	if err != nil {
		return false
	}
	kills, _ := keyValue(string(buf[:max(n, 0)]), "oom_kill")
	more := kills > w.kills
	w.kills = kills
	return more
}

// Last is to be called when all processes have gone: it reports whether memory has run out without that having been
// announced yet, as version 2 does some time after it has killed.
func (w *Watch) Last() bool { return w.out() }

// Close ends it.
func (w *Watch) Close() {
	closeFD(&w.memory)
	closeFD(&w.events)
}
