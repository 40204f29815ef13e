package cgroup

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// destroyTimeout is how long a cgroup may stay busy with processes that have been killed but not yet left.
const destroyTimeout = 5 * time.Second

// Destroy removes the cgroups that Create made, with what the container made below them, and then those above them that
// Create made and nobody else uses. A cgroup that was there before stays, without our device filter. Processes must be
// on their way out: it waits up to 5 seconds for them. What is gone already is no error, so it may be called again.
func (m *Manager) Destroy() error {
	m.Close()
	var errs []error
	if m.driver == DriverSystemd {
		if err := m.stopUnit(); err != nil {
			errs = append(errs, err)
		}
	}
	end := time.Now().Add(destroyTimeout)
	for i := range m.dirs {
		d := &m.dirs[i]
		if d.made == 0 {
			if d.v2() && m.driver == DriverCgroupfs && m.dirOf("devices") == d {
				unsetDevicesV2(d.path)
			}
			continue
		}
		if err := removeTree(d.path, end); err != nil {
			errs = append(errs, err)
			continue
		}
		unmakeDirs(parent(d.path), d.made-1)
	}
	return errors.Join(errs...)
}

// removeTree removes a cgroup and those below it, waiting until end for processes to leave.
func removeTree(path string, end time.Time) error {
	for delay := 50 * time.Microsecond; ; delay = min(2*delay, 50*time.Millisecond) {
		err := rmdir(path)
		if err == nil || gone(err) {
			return nil
		}
		if err != unix.EBUSY && err != unix.ENOTEMPTY {
			// A read-only mount says EROFS of what is not there, too.
			if unix.Access(path, unix.F_OK) == unix.ENOENT {
				return nil
			}
			return opError("", "rmdir", path, err)
		}
		if err := eachBelow(path, func(path string) error { return removeTree(path, end) }); err != nil && !gone(err) {
			return err
		}
		if rmdir(path) == nil {
			return nil
		}
		if time.Now().After(end) {
			return &Error{Op: "rmdir", Path: path, Err: err, Hint: busyHint(path)}
		}
		time.Sleep(delay)
	}
}

func busyHint(path string) string {
	pids, err := pidsBelow(path)
	if err != nil || len(pids) == 0 {
		return ""
	}
	if len(pids) > 5 {
		pids = pids[:5]
	}
	return "still in it: " + strings.Trim(fmt.Sprint(pids), "[]")
}
