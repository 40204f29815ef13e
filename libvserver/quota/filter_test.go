package quota

import (
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/seccomptest"
)

func TestFilter(t *testing.T) {
	raw, err := Filter()
	if err != nil {
		t.Skip(err)
	}
	if runtime.GOARCH != "amd64" {
		t.Skip("the numbers below are amd64's")
	}
	const allow = unix.SECCOMP_RET_ALLOW
	const deny = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	for _, tt := range []struct {
		name              string
		arch, nr, request uint32
		want              uint32
	}{
		{"write", unix.AUDIT_ARCH_X86_64, 1, setXattr, allow},
		{"TCGETS", unix.AUDIT_ARCH_X86_64, 16, 0x5401, allow},
		{"FS_IOC_FSGETXATTR", unix.AUDIT_ARCH_X86_64, 16, getXattr, allow},
		{"FS_IOC_FSSETXATTR", unix.AUDIT_ARCH_X86_64, 16, setXattr, deny},
		{"FS_IOC_SETFLAGS", unix.AUDIT_ARCH_X86_64, 16, 0x40086602, deny},
		{"file_setattr", unix.AUDIT_ARCH_X86_64, 469, 0, deny},
		{"x32", unix.AUDIT_ARCH_X86_64, 0x40000000 + 514, setXattr, deny},
		{"i386: write", unix.AUDIT_ARCH_I386, 4, setXattr, allow},
		{"i386: FS_IOC_FSSETXATTR", unix.AUDIT_ARCH_I386, 54, setXattr, deny},
		{"i386: FS_IOC32_SETFLAGS", unix.AUDIT_ARCH_I386, 54, 0x40046602, deny},
		{"i386: nothing", unix.AUDIT_ARCH_I386, 16, setXattr, allow},
		{"i386: file_setattr", unix.AUDIT_ARCH_I386, 469, 0, deny},
		{"another machine", unix.AUDIT_ARCH_S390X, 1, 0, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
	} {
		got, err := seccomptest.Run(raw, seccomptest.Data{Nr: tt.nr, Arch: tt.arch, Args: [6]uint64{0, uint64(tt.request) | 1<<40}})
		if err != nil || got != tt.want {
			t.Errorf("%s: %#x, want %#x, %v", tt.name, got, tt.want, err)
		}
	}
}
