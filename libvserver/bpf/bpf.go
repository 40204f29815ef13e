// Package bpf is bpf(2) for the binary that runs every time: system calls and nothing else, no ELF, no BTF. What needs
// those is done with cilium/ebpf in the helper.
//
// It must import nothing of this module, and not cilium/ebpf.
package bpf

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Call calls bpf(2). Pointers inside attr must be kept alive and in place by the caller.
func Call(cmd uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	for tries := 0; ; tries++ {
		r, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size)
		switch {
		case errno == 0:
			return int(r), nil
		case errno == unix.EINTR, errno == unix.EAGAIN && tries < 30: // the verifier gives way to signals
			continue
		}
		return -1, errno
	}
}

// Get opens what is pinned at path.
func Get(path string) (int, error) {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return -1, err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(p)
	attr := struct {
		path          uint64
		fd, fileFlags uint32
	}{path: uint64(uintptr(unsafe.Pointer(p)))}
	fd, err := Call(unix.BPF_OBJ_GET, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return -1, &os.PathError{Op: "bpf(BPF_OBJ_GET)", Path: path, Err: err}
	}
	return fd, nil
}

// AttachCgroup adds a program to those of a cgroup, its own and those of the cgroups above; cgroups below inherit it.
func AttachCgroup(cgroup, prog int, typ uint32) error {
	attr := struct{ target, prog, typ, flags uint32 }{uint32(cgroup), uint32(prog), typ, unix.BPF_F_ALLOW_MULTI}
	if _, err := Call(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("bpf(BPF_PROG_ATTACH): %w", err)
	}
	return nil
}

// DetachCgroup takes a program from a cgroup. The error is ENOENT where it is not attached.
func DetachCgroup(cgroup, prog int, typ uint32) error {
	attr := struct{ target, prog, typ uint32 }{uint32(cgroup), uint32(prog), typ}
	_, err := Call(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

type mapAttr struct {
	fd, _             uint32
	key, value, flags uint64
}

func element(cmd uintptr, fd int, key, value unsafe.Pointer, flags uint64) error {
	var pin runtime.Pinner
	defer pin.Unpin()
	attr := mapAttr{fd: uint32(fd), flags: flags}
	if key != nil {
		pin.Pin(key)
		attr.key = uint64(uintptr(key))
	}
	if value != nil {
		pin.Pin(value)
		attr.value = uint64(uintptr(value))
	}
	_, err := Call(cmd, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// Update sets an element of a map. With BPF_NOEXIST an element that is there is EEXIST.
func Update(fd int, key, value unsafe.Pointer, flags uint64) error {
	if err := element(unix.BPF_MAP_UPDATE_ELEM, fd, key, value, flags); err != nil {
		return fmt.Errorf("bpf(BPF_MAP_UPDATE_ELEM): %w", err)
	}
	return nil
}

// Lookup reads an element of a map; ENOENT if there is none.
func Lookup(fd int, key, value unsafe.Pointer) error {
	if err := element(unix.BPF_MAP_LOOKUP_ELEM, fd, key, value, 0); err != nil {
		return fmt.Errorf("bpf(BPF_MAP_LOOKUP_ELEM): %w", err)
	}
	return nil
}

// NextKey gives the key that comes after key, nil for the first; ENOENT after the last.
func NextKey(fd int, key, next unsafe.Pointer) error {
	if err := element(unix.BPF_MAP_GET_NEXT_KEY, fd, key, next, 0); err != nil {
		return fmt.Errorf("bpf(BPF_MAP_GET_NEXT_KEY): %w", err)
	}
	return nil
}

// Delete removes an element of a map; that there is none is no error.
func Delete(fd int, key unsafe.Pointer) error {
	if err := element(unix.BPF_MAP_DELETE_ELEM, fd, key, nil, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("bpf(BPF_MAP_DELETE_ELEM): %w", err)
	}
	return nil
}

// SetByte sets one byte of the single value, of size bytes, of a map that can be mapped to memory (BPF_F_MMAPABLE, Linux 5.5),
// and no other: an update would replace them all.
func SetByte(fd, size, at int) error {
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap of a BPF map: %w", err)
	}
	b[at] = 1
	return unix.Munmap(b)
}

// Pin pins an object in a BPF filesystem.
func Pin(fd int, path string) error {
	p, err := unix.BytePtrFromString(path)
	if err != nil {
		return err
	}
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(p)
	attr := struct {
		path          uint64
		fd, fileFlags uint32
	}{path: uint64(uintptr(unsafe.Pointer(p))), fd: uint32(fd)}
	if _, err := Call(unix.BPF_OBJ_PIN, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return &os.PathError{Op: "bpf(BPF_OBJ_PIN)", Path: path, Err: err}
	}
	return nil
}

// Link attaches a program and returns the descriptor of what holds it: target is a descriptor of a network namespace for
// BPF_SK_LOOKUP (Linux 5.9), the index of an interface in the caller's network namespace for BPF_TCX_INGRESS (6.6).
func Link(prog int, target, typ uint32) (int, error) {
	attr := struct {
		prog, target, typ, flags uint32
		relative, _              uint32
		revision                 uint64
	}{prog: uint32(prog), target: target, typ: typ}
	fd, err := Call(unix.BPF_LINK_CREATE, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if err != nil {
		return -1, fmt.Errorf("bpf(BPF_LINK_CREATE): %w", err)
	}
	return fd, nil
}
