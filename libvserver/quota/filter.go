package quota

import (
	"encoding/binary"
	"errors"
	"runtime"

	"golang.org/x/sys/unix"
)

// Root of the host's user namespace may give a file to another project, or take from a directory that what is made in it
// inherits the project, and has left the limit (fileattr_set_prepare in the kernel's fs/file_attr.c refuses both to others).
// So where a container has no user namespace of its own it may not make the calls that do so: ioctl(2) with these requests,
// and file_setattr(2).
var denied = [...]uint32{setXattr, 0x40086602, 0x40046602} // FS_IOC_SETFLAGS, FS_IOC32_SETFLAGS

// fileSetattr is file_setattr(2), Linux 6.17: the same number everywhere.
const fileSetattr = 469

// Filter makes a seccomp filter that denies these calls, an array of struct sock_filter in the machine's byte order.
func Filter() ([]byte, error) {
	var arch [2][2]uint32 // architecture, number of ioctl
	switch runtime.GOARCH {
	case "amd64":
		arch = [2][2]uint32{{unix.AUDIT_ARCH_X86_64, 16}, {unix.AUDIT_ARCH_I386, 54}}
	case "arm64":
		arch = [2][2]uint32{{unix.AUDIT_ARCH_AARCH64, 29}, {unix.AUDIT_ARCH_ARM, 54}}
	case "riscv64":
		arch = [2][2]uint32{{unix.AUDIT_ARCH_RISCV64, 29}, {unix.AUDIT_ARCH_RISCV64, 29}}
	default:
		return nil, errors.New("disk limits: no seccomp filter is known for this architecture (" + runtime.GOARCH + "): a user namespace does without")
	}
	// linux/bpf_common.h; struct seccomp_data has nr, arch, the instruction pointer and six arguments.
	const (
		load, equal, atLeast, end = 0x20, 0x15, 0x35, 0x06
		nrAt, archAt, requestAt   = 0, 4, 16 + 8
		deny                      = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		x32                       = 0x40000000 // numbers from here on are of calls that nothing uses
	)
	n := uint8(len(denied))
	var b []byte
	emit := func(code uint16, jt, jf uint8, k uint32) {
		b = binary.NativeEndian.AppendUint16(b, code)
		b = append(b, jt, jf)
		b = binary.NativeEndian.AppendUint32(b, k)
	}
	for _, a := range arch {
		emit(load, 0, 0, archAt)
		emit(equal, 0, 7+n, a[0]) // to the next architecture
		emit(load, 0, 0, nrAt)
		emit(atLeast, 4+n, 0, x32)
		emit(equal, 3+n, 0, fileSetattr)
		emit(equal, 0, 1+n, a[1]) // to allow
		emit(load, 0, 0, requestAt)
		for i := range denied {
			emit(equal, n-uint8(i), 0, denied[i])
		}
		emit(end, 0, 0, unix.SECCOMP_RET_ALLOW)
		emit(end, 0, 0, deny)
	}
	emit(end, 0, 0, unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)) // programs of another architecture
	return b, nil
}
