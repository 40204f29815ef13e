package cgroup

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/bpf"
)

// filterName is the name that our programs carry in the kernel, by which a later process knows them
// (bpf_prog_info.name, at most 15 bytes).
const filterName = "vsrun_devices"

// loadProgram loads a device filter and returns its descriptor.
func loadProgram(prog []insn) (int, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	license := [...]byte{'A', 'p', 'a', 'c', 'h', 'e', 0} // no GPL helper is called
	pin.Pin(&prog[0])
	pin.Pin(&license)
	attr := struct { // union bpf_attr, BPF_PROG_LOAD
		progType, insnCnt  uint32
		insns, license     uint64
		logLevel, logSize  uint32
		logBuf             uint64
		kernVersion, flags uint32
		name               [16]byte
	}{
		progType: unix.BPF_PROG_TYPE_CGROUP_DEVICE,
		insnCnt:  uint32(len(prog)),
		insns:    uint64(uintptr(unsafe.Pointer(&prog[0]))),
		license:  uint64(uintptr(unsafe.Pointer(&license))),
	}
	copy(attr.name[:], filterName)
	fd, err := bpf.Call(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	switch {
	case err == nil:
		return fd, nil
	case errors.Is(err, unix.EPERM):
		return -1, fmt.Errorf("bpf(BPF_PROG_LOAD): %w (needs CAP_BPF and CAP_NET_ADMIN, or CAP_SYS_ADMIN; before Linux 5.11 also a higher RLIMIT_MEMLOCK: ulimit -l unlimited)", err)
	case errors.Is(err, unix.ENOSYS):
		return -1, fmt.Errorf("bpf(BPF_PROG_LOAD): %w (the kernel needs CONFIG_BPF_SYSCALL and CONFIG_CGROUP_BPF)", err)
	}
	if log := verifierLog(unsafe.Pointer(&attr), unsafe.Sizeof(attr), &attr.logLevel, &attr.logSize, &attr.logBuf); log != "" {
		return -1, fmt.Errorf("bpf(BPF_PROG_LOAD): %w: %s", err, log)
	}
	return -1, fmt.Errorf("bpf(BPF_PROG_LOAD): %w", err)
}

// verifierLog loads again to learn the reason of a refusal.
func verifierLog(attr unsafe.Pointer, size uintptr, level, logSize *uint32, logBuf *uint64) string {
	var pin runtime.Pinner
	defer pin.Unpin()
	buf := make([]byte, 64<<10)
	pin.Pin(&buf[0])
	*level, *logSize, *logBuf = 1, uint32(len(buf)), uint64(uintptr(unsafe.Pointer(&buf[0])))
	if fd, err := bpf.Call(unix.BPF_PROG_LOAD, attr, size); err == nil {
		_ = unix.Close(fd)
	}
	return unix.ByteSliceToString(buf)
}

// attachProgram adds a device filter to a cgroup, or puts it in the place of old (BPF_F_REPLACE, Linux 5.6) unless
// that is -1.
func attachProgram(dirfd, prog, old int) error {
	attr := struct{ target, prog, typ, flags, replace uint32 }{uint32(dirfd), uint32(prog), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI, 0}
	if old >= 0 {
		attr.flags |= unix.BPF_F_REPLACE
		attr.replace = uint32(old)
	}
	if _, err := bpf.Call(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("bpf(BPF_PROG_ATTACH): %w", err)
	}
	return nil
}

func detachProgram(dirfd, prog int) error {
	attr := struct{ target, prog, typ uint32 }{uint32(dirfd), uint32(prog), unix.BPF_CGROUP_DEVICE}
	_, err := bpf.Call(unix.BPF_PROG_DETACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return err
}

// attachedFilter returns a descriptor of the program of ours on a cgroup, -1 if there is none.
func attachedFilter(dirfd int) (int, error) {
	var pin runtime.Pinner
	defer pin.Unpin()
	ids := make([]uint32, 64) // the most a cgroup can have (BPF_CGROUP_MAX_PROGS)
	pin.Pin(&ids[0])
	query := struct {
		target, typ, queryFlags, attachFlags uint32
		ids                                  uint64
		count, _                             uint32
		// Linux 6.17 to 7.1 write the revision whatever size they are told; so it must have room.
		progFlags, linkIDs, linkFlags, revision uint64
	}{target: uint32(dirfd), typ: unix.BPF_CGROUP_DEVICE, ids: uint64(uintptr(unsafe.Pointer(&ids[0]))), count: uint32(len(ids))}
	if _, err := bpf.Call(unix.BPF_PROG_QUERY, unsafe.Pointer(&query), unsafe.Sizeof(query)); err != nil {
		return -1, fmt.Errorf("bpf(BPF_PROG_QUERY): %w", err)
	}
	for _, id := range ids[:query.count] {
		fd, err := bpf.Call(unix.BPF_PROG_GET_FD_BY_ID, unsafe.Pointer(&id), unsafe.Sizeof(id))
		if err != nil {
			continue // gone again, or kept from us by an LSM: not ours
		}
		if info, err := infoOf(fd); err == nil && unix.ByteSliceToString(info.name[:]) == filterName {
			return fd, nil
		}
		_ = unix.Close(fd)
	}
	return -1, nil
}

// progInfo is the start of struct bpf_prog_info.
type progInfo struct {
	typ, id                uint32
	tag                    [8]byte // hash of the instructions
	jitedLen, xlatedLen    uint32
	jited, xlated          uint64
	loadTime               uint64
	uid, nrMapIDs          uint32
	mapIDs                 uint64
	name                   [16]byte
	ifindex, gplCompatible uint32
}

func infoOf(fd int) (progInfo, error) {
	var info progInfo
	var pin runtime.Pinner
	defer pin.Unpin()
	pin.Pin(&info)
	attr := struct {
		fd, len uint32
		info    uint64
	}{uint32(fd), uint32(unsafe.Sizeof(info)), uint64(uintptr(unsafe.Pointer(&info)))}
	_, err := bpf.Call(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	return info, err
}

// sameProgram reports whether two programs have the same instructions.
func sameProgram(a, b int) bool {
	x, err := infoOf(a)
	if err != nil {
		return false
	}
	y, err := infoOf(b)
	return err == nil && x.tag == y.tag
}
