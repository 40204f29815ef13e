package cgroup

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/vsrun/vsrun/libvserver/log"
	"golang.org/x/sys/unix"
)

// freezeTimeout is how long a cgroup may take to freeze: tasks in uninterruptible sleep keep it waiting.
const freezeTimeout = 10 * time.Second

// freezerDir is where the container is frozen: the version 1 freezer where it is mounted, since that is what tools on
// such hosts look at, else the version 2 tree.
func (m *Manager) freezerDir() *dir {
	if d := m.dirOf("freezer"); d != nil {
		return d
	}
	return m.dirOf("")
}

// Freeze stops or continues every process of the container, and returns when they have stopped. If they can't be
// stopped in 10 seconds, none is.
func (m *Manager) Freeze(on bool) error {
	d := m.freezerDir()
	if d == nil {
		if len(m.dirs) == 0 {
			return ErrNoCgroup
		}
		return errors.New("no freezer cgroup controller is mounted")
	}
	if !d.v2() {
		if on {
			return m.withHint(freezeV1(d.path))
		}
		return m.withHint(setFreezer(d.path, thawed))
	}
	val := "0"
	if on {
		val = "1"
	}
	file := d.path + "/cgroup.freeze"
	if err := writeFile(file, val); err != nil {
		return m.withHint(opError("", "write "+val+" to", file, err))
	}
	if !on {
		return nil
	}
	err := waitEvent(d.path, "frozen", 1, freezeTimeout, func() bool { on, err := frozenDir(d); return on && err == nil })
	if err != nil {
		_ = writeFile(file, "0")
	}
	return err
}

// The states of a version 1 freezer, besides FREEZING.
const (
	frozenState = "FROZEN"
	thawed      = "THAWED"
)

func setFreezer(path, state string) error {
	file := path + "/freezer.state"
	if err := writeFile(file, state); err != nil {
		return opError("", "write "+state+" to", file, err)
	}
	return nil
}

// freezeV1 freezes a cgroup of the version 1 freezer, which does not take hold for certain: while processes are forked
// or moved in, it may stay FREEZING for ever, and has to be told again. How often, and thawing and pausing now and then,
// are what runc has found to succeed; on a busy machine its thousand tries are over before every process has had a CPU
// to stop on, so there are as many as the time allows, and longer pauses.
func freezeV1(path string) error {
	err := errors.New("cgroup " + path + ": unable to freeze in " + freezeTimeout.String() + ": processes keep appearing in it")
	pause := 10 * time.Microsecond
	end := time.Now().Add(freezeTimeout)
	for i := 0; i < 25 || time.Now().Before(end); i++ {
		if i%50 == 49 {
			_ = setFreezer(path, thawed)
			time.Sleep(10 * time.Millisecond)
		}
		if serr := setFreezer(path, frozenState); serr != nil {
			err = serr
			break
		}
		if i%25 == 24 {
			time.Sleep(pause)
			pause = min(2*pause, 20*time.Millisecond)
		}
		file := path + "/freezer.state"
		state, rerr := readValue(file)
		switch {
		case rerr != nil:
			err = opError("", "read", file, rerr)
		case state == frozenState:
			if i > 1 {
				log.Debugf("cgroup %s: frozen after %d retries", path, i)
			}
			return nil
		case state == "FREEZING":
			continue
		default:
			err = errors.New("cgroup " + path + ": " + state + " while freezing")
		}
		break
	}
	// Left FREEZING, some of its processes would stand still.
	_ = setFreezer(path, thawed)
	return err
}

// Frozen reports whether the container was frozen by Freeze. A container without a cgroup, or whose cgroup is gone, is
// not frozen.
func (m *Manager) Frozen() (bool, error) {
	d := m.freezerDir()
	if d == nil {
		return false, nil
	}
	frozen, err := frozenDir(d)
	if gone(err) {
		err = nil
	}
	return frozen, err
}

// frozenDir reads whether a cgroup itself, not one above it, was told to freeze. A version 1 hierarchy other than the
// freezer's is never frozen.
func frozenDir(d *dir) (bool, error) {
	file := "/cgroup.freeze"
	switch {
	case d.v2():
	case d.has("freezer"):
		file = "/freezer.self_freezing"
	default:
		return false, nil
	}
	s, err := readFile(d.path + file)
	return strings.TrimSpace(s) == "1", err
}

// gone reports whether an error means that the cgroup was removed.
func gone(err error) bool { return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) }

// waitEvent waits until a key of cgroup.events has a value, as long as still says that it may come. The kernel announces
// changes as POLLPRI.
func waitEvent(path, key string, want uint64, timeout time.Duration, still func() bool) error {
	file := path + "/cgroup.events"
	fd, err := open(file, unix.O_RDONLY)
	if err != nil {
		return opError("", "open", file, err)
	}
	defer unix.Close(fd)
	var buf [256]byte
	for end := time.Now().Add(timeout); ; {
		n, err := unix.Pread(fd, buf[:], 0)
		if err != nil && err != unix.EINTR {
			return opError("", "read", file, err)
		}
		if v, ok := keyValue(string(buf[:max(n, 0)]), key); ok && v == want {
			return nil
		}
		left := time.Until(end)
		if left <= 0 {
			return fmt.Errorf("cgroup %s: not %s after %s", path, key, timeout)
		}
		if !still() {
			return errors.New("cgroup " + path + ": not " + key + ": another process has taken that back")
		}
		// Not for long at a time: nobody announces that it was taken back.
		_, _ = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, int(min(left, 20*time.Millisecond).Milliseconds())+1)
	}
}
