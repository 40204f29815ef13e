package launch

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreq is struct ifreq of netdevice(7), as far as SIOCSIFFLAGS reads it.
type ifreq struct {
	name  [unix.IFNAMSIZ]byte
	flags uint16
	_     [22]byte
}

// loopback sets lo up. A socket of any family takes the call.
func (c *compiler) loopback() {
	up := none
	if c.loopbackUp != nil {
		up = c.emit(opIf, "", val(uintptr(unsafe.Pointer(c.loopbackUp))), val(uint32(0xffffffff)), val(1), val(0))
	}
	r, at := place[ifreq](c.Program)
	copy(r.name[:], "lo")
	r.flags = unix.IFF_UP
	s := c.result(unix.SYS_SOCKET, "socket", val(unix.AF_UNIX), val(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC), val(0))
	c.call(unix.SYS_IOCTL, "SIOCSIFFLAGS", s.arg(), val(unix.SIOCSIFFLAGS), val(at))
	c.close(s)
	if up != none {
		c.land(up)
	}
}
