package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// leaveQuota tries what takes a file or a directory out of its project: probe leavequota FILE.
func leaveQuota(args []string) error {
	f, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer f.Close()
	var attr [28]byte // struct fsxattr: the project is the fourth word
	ioctl := func(name string, request uintptr, at unsafe.Pointer) {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(at))
		fmt.Println(name, result(errno))
	}
	ioctl("get", 0x801c581f, unsafe.Pointer(&attr)) // FS_IOC_FSGETXATTR
	project := (*uint32)(unsafe.Pointer(&attr[12]))
	*project = 0
	ioctl("project", 0x401c5820, unsafe.Pointer(&attr)) // FS_IOC_FSSETXATTR
	var flags uint64
	ioctl("flags", 0x40086602, unsafe.Pointer(&flags)) // FS_IOC_SETFLAGS
	_, _, errno := unix.Syscall6(469, ^uintptr(99), 0, 0, 0, 0, 0)
	fmt.Println("file_setattr", result(errno))
	return nil
}

func result(errno unix.Errno) string {
	if errno == 0 {
		return "ok"
	}
	return unix.ErrnoName(errno)
}
