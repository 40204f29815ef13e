package cgroup

import (
	"errors"
	"fmt"

	"github.com/vsrun/vsrun/libvserver/host"
	"golang.org/x/sys/unix"
)

const placeDevices = placeRes + ".devices"

// setDevices applies the device rules: by the devices controller where it is mounted, else by a BPF program on the
// version 2 cgroup. A rootless container goes on without, and so does one that root of a user namespace makes: they can't
// load programs, and have no more rights to device nodes than their user.
func (m *Manager) setDevices() error {
	var err error
	if d := m.dirOf("devices"); d != nil && !d.v2() {
		err = setDevicesV1(d.path, m.rules)
	} else if d := m.dirOf(""); d != nil {
		err = setDevicesV2(d.path, d.fd, m.rules, d.made > 0)
	} else if !m.rootless && !host.InUserNamespace() {
		err = errors.New(placeDevices + ": no devices controller is mounted below " + host.CgroupRoot + " to keep the container from devices")
	}
	if isDenied(err) && (m.rootless || host.InUserNamespace()) {
		return nil
	}
	return err
}

// setDevicesV1 writes folded rules: first "a", which sets what happens by default and drops all exceptions, then the
// exceptions. The cgroup is that of a container that has not started, so the moment between does no harm.
//
// In a nested runtime the parent cgroup bounds what may be allowed. Defaults beyond that are left out.
func setDevicesV1(path string, rules []rule) error {
	allow, exceptions, err := fold(rules)
	if err != nil {
		return fmt.Errorf("%s: %w", placeDevices, err)
	}
	first, rest := "/devices.deny", "/devices.allow"
	if allow {
		first, rest = rest, first
	}
	if err := writeFile(path+first, "a"); err != nil {
		return opError(placeDevices, "write \"a\" to", path+first, err)
	}
	if len(exceptions) == 0 {
		return nil
	}
	fd, err := open(path+rest, unix.O_WRONLY)
	if err != nil {
		return opError(placeDevices, "open", path+rest, err)
	}
	defer unix.Close(fd)
	for _, e := range exceptions {
		if err := writeAll(fd, e.String()); err != nil {
			if e.byDefault && err == unix.EPERM {
				continue
			}
			return opError(placeDevices, "write \""+e.String()+"\" to", path+rest, err)
		}
	}
	return nil
}

// setDevicesV2 attaches the rules' program to a cgroup. It replaces the one that a former call attached, in one step,
// unless that is the same program. Programs of others stay: they can only deny more.
func setDevicesV2(path string, dirfd int, rules []rule, fresh bool) error {
	if dirfd < 0 {
		fd, err := open(path, unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return opError(placeDevices, "open", path, err)
		}
		defer unix.Close(fd)
		dirfd = fd
	}
	prog, err := deviceProgram(rules)
	if err != nil {
		return fmt.Errorf("%s: %w", placeDevices, err)
	}
	fd, err := loadProgram(prog)
	if err != nil {
		return fmt.Errorf("%s: load the device filter: %w", placeDevices, err)
	}
	defer unix.Close(fd)
	old := -1
	if !fresh {
		if old, err = attachedFilter(dirfd); err != nil {
			return fmt.Errorf("%s: look for a device filter on %s: %w", placeDevices, path, err)
		}
		if old >= 0 {
			defer unix.Close(old)
			if sameProgram(fd, old) {
				return nil
			}
		}
	}
	if err := attachProgram(dirfd, fd, old); err != nil {
		return fmt.Errorf("%s: attach the device filter to %s: %w", placeDevices, path, err)
	}
	return nil
}

// unsetDevicesV2 takes our program off a cgroup that stays.
func unsetDevicesV2(path string) {
	dirfd, err := open(path, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return
	}
	defer unix.Close(dirfd)
	if fd, err := attachedFilter(dirfd); err == nil && fd >= 0 {
		_ = detachProgram(dirfd, fd)
		_ = unix.Close(fd)
	}
}
