package main

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pages counts the pages of files that are in the page cache (mincore(2)), and touches none.
func pages(args []string) error {
	for _, name := range args {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		st, err := f.Stat()
		if err != nil {
			return err
		}
		size := int(st.Size())
		m, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		vec := make([]byte, (size+os.Getpagesize()-1)/os.Getpagesize())
		if err := mincore(m, vec); err != nil {
			return fmt.Errorf("mincore: %w", err)
		}
		n := 0
		for _, v := range vec {
			n += int(v & 1)
		}
		fmt.Println(n, len(vec))
		_ = unix.Munmap(m)
		f.Close()
	}
	return nil
}

func mincore(m, vec []byte) error {
	if _, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&m[0])), uintptr(len(m)), uintptr(unsafe.Pointer(&vec[0]))); errno != 0 {
		return errno
	}
	return nil
}
