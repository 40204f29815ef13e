package netdev

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Device is one to be moved.
type Device struct {
	// At is where it is asked for, for errors: linux.netDevices["eth0"].
	At string
	// Host is its name in the runtime's network namespace.
	Host string
	// Name is what it is called in the container. With %d in it the lowest number that is free takes its place.
	Name string
}

// DeviceError is what went wrong with a device.
type DeviceError struct {
	Device
	Op  string // what was done: "look for it on the host"
	Err error
}

func (e *DeviceError) Error() string {
	s := e.At + ": " + e.Op + ": " + e.Err.Error()
	switch {
	case errors.Is(e.Err, unix.EPERM):
		s += " (needs CAP_NET_ADMIN in the host's network namespace and in the container's)"
	case errors.Is(e.Err, unix.EINVAL) && e.Op == opMove:
		s += " (a device that belongs to its namespace can't be moved, as a loopback device or a bridge)"
	}
	return s
}

func (e *DeviceError) Unwrap() error { return e.Err }

const opMove = "move it to the container's network namespace"

// ErrHostNetwork: the container has the runtime's network namespace, where there is nothing to be moved.
var ErrHostNetwork = errors.New("the container has no network namespace other than the runtime's")

// Moved are devices that a container has got. Close it in any case.
type Moved struct {
	home, away *conn // sockets in the runtime's namespace and in the container's
	netns      int   // the runtime's
	done       []moved
}

// moved is one device, and what it was.
type moved struct {
	Device
	index uint32 // in the container
	up    bool
	addrs []address
}

// Move moves devices into the network namespace of a process. Those with a name of their own are moved before those with
// a template, each in the order of the list. Whether it is possible is looked at before the first one is moved, as far
// as that can be told. If it fails for one, those that were moved are given back.
func Move(pid int, list []Device) (*Moved, error) {
	m := &Moved{netns: -1}
	if err := m.move(pid, list); err != nil {
		if back := m.Return(); back != nil {
			err = errors.Join(err, back)
		}
		m.Close()
		return nil, err
	}
	return m, nil
}

func (m *Moved) move(pid int, list []Device) error {
	there, err := unix.Open("/proc/"+strconv.Itoa(pid)+"/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's network namespace: %w", err)
	}
	defer unix.Close(there)
	if m.netns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open the runtime's network namespace: %w", err)
	}
	if same, err := sameFile(there, m.netns); err != nil {
		return err
	} else if same {
		return ErrHostNetwork
	}
	if m.home, err = dial(); err != nil {
		return err
	}
	if m.away, err = dialIn(there); err != nil {
		return fmt.Errorf("enter the container's network namespace: %w", err)
	}
	for i := range list {
		if err := m.check(&list[i]); err != nil {
			return err
		}
	}
	for _, templates := range [...]bool{false, true} {
		for _, d := range list {
			if isTemplate(d.Name) != templates {
				continue
			}
			if err := m.one(d, there); err != nil {
				return err
			}
		}
	}
	return nil
}

func sameFile(a, b int) (bool, error) {
	var x, y unix.Stat_t
	if err := unix.Fstat(a, &x); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	if err := unix.Fstat(b, &y); err != nil {
		return false, os.NewSyscallError("fstat", err)
	}
	return x.Dev == y.Dev && x.Ino == y.Ino, nil
}

// check looks if a device is there and its name in the container is free.
func (m *Moved) check(d *Device) error {
	if _, err := m.home.link(d.Host); err != nil {
		return &DeviceError{*d, "look for it on the host", err}
	}
	if _, err := m.away.freeName(d.Name); err != nil {
		return &DeviceError{*d, "call it " + strconv.Quote(d.Name) + " in the container", err}
	}
	return nil
}

// one moves a device.
func (m *Moved) one(d Device, netns int) error {
	l, err := m.home.link(d.Host)
	if err != nil {
		return &DeviceError{d, "look for it on the host", err}
	}
	// The name for the way back, should Host be an alternative one.
	asked := d
	d.Host = l.name
	addrs, err := m.home.addresses(l.index)
	if err != nil {
		return &DeviceError{asked, "list its addresses", err}
	}
	name, err := m.away.freeName(d.Name)
	if err != nil {
		return &DeviceError{asked, "call it " + strconv.Quote(d.Name) + " in the container", err}
	}
	refused := m.home.send(l.index, netns, name)
	now := name
	if refused != nil {
		// The kernel renames after it has moved: if somebody took the name meanwhile, the device is there with its old one.
		if still, err := m.home.taken(l.name); err != nil || still {
			return &DeviceError{asked, opMove, refused}
		}
		now = l.name
	}
	there, err := m.away.link(now)
	if err != nil {
		return &DeviceError{asked, "look for it in the container", err}
	}
	m.done = append(m.done, moved{d, there.index, l.flags&unix.IFF_UP != 0, addrs})
	if refused != nil {
		return &DeviceError{asked, opMove, refused}
	}
	for i := range addrs {
		if err := m.away.addAddress(&addrs[i], there.index, l.name, name); err != nil {
			return &DeviceError{asked, "add its addresses in the container", err}
		}
	}
	if err := m.away.up(there.index); err != nil {
		return &DeviceError{asked, "set it up in the container", err}
	}
	return nil
}

// Return gives the devices back to the runtime's namespace, with their names and addresses and up if they were: for a
// container that is not to be after all.
func (m *Moved) Return() error {
	var errs []error
	for i := len(m.done) - 1; i >= 0; i-- {
		d := &m.done[i]
		if err := m.giveBack(d); err != nil {
			errs = append(errs, &DeviceError{d.Device, "give it back to the host", err})
		}
	}
	m.done = nil
	return errors.Join(errs...)
}

func (m *Moved) giveBack(d *moved) error {
	if err := m.away.send(d.index, m.netns, d.Host); err != nil {
		return err
	}
	l, err := m.home.link(d.Host)
	if err != nil {
		return err
	}
	for i := range d.addrs {
		if err := m.home.addAddress(&d.addrs[i], l.index, d.Host, d.Host); err != nil {
			return err
		}
	}
	if d.up {
		return m.home.up(l.index)
	}
	return nil
}

// Close gives up what was held for Return; the devices stay where they are.
func (m *Moved) Close() {
	for _, c := range [...]*conn{m.home, m.away} {
		if c != nil {
			c.close()
		}
	}
	if m.netns >= 0 {
		unix.Close(m.netns)
	}
	m.home, m.away, m.netns, m.done = nil, nil, -1, nil
}
