package harness

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// World lists all that a runtime may leave behind in an isolated test
// program's namespaces (see Isolate): mounts, processes, cgroups whose name
// holds tag, files below /run
// and /sys/fs/bpf, unix sockets, network devices, and
// device filters. Files that match a pattern of ignore are left out, with what is below. filters are the
// device filters' hashes (DeviceFilters) to look for: programs are not in
// namespaces, and others on this machine have their own.
func World(tag string, filters []string, ignore ...string) []string {
	var all []string
	if b, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			all = append(all, "mount: "+strings.TrimSpace(line))
		}
	}
	all = append(all, liveProcesses()...)
	all = append(all, cgroupLeaks(tag)...)
	walk := func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if slices.ContainsFunc(ignore, func(pattern string) bool { ok, _ := filepath.Match(pattern, path); return ok }) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		all = append(all, "file: "+path)
		return nil
	}
	_ = filepath.WalkDir("/run", walk)
	_ = filepath.WalkDir("/sys/fs/bpf", walk)
	if b, err := os.ReadFile("/proc/net/unix"); err == nil {
		for line := range strings.Lines(string(b)) {
			// What has a name, and listens or can be sent to: abstract ones begin with @.
			if f := strings.Fields(line); len(f) == 8 {
				all = append(all, "socket: "+f[7])
			}
		}
	}
	if b, err := os.ReadFile("/proc/net/dev"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, _, ok := strings.Cut(line, ":"); ok {
				all = append(all, "network device: "+strings.TrimSpace(name))
			}
		}
	}
	all = append(all, devicePrograms(filters)...)
	slices.Sort(all)
	return all
}

// Changes says what came and went between two worlds.
func Changes(before, after []string) []string {
	count := map[string]int{}
	for _, s := range before {
		count[s]--
	}
	for _, s := range after {
		count[s]++
	}
	var diff []string
	for s, n := range count {
		switch {
		case n > 0:
			diff = append(diff, "left: "+s)
		case n < 0:
			diff = append(diff, "gone: "+s)
		}
	}
	slices.Sort(diff)
	return diff
}

// Settle looks until the world is as before, for a few seconds at most, and
// returns how it differs.
func Settle(before []string, world func() []string) (diff []string) {
	Poll(10*time.Second, func() bool {
		diff = Changes(before, world())
		return len(diff) == 0
	})
	return diff
}

// liveProcesses lists the processes of this pid namespace, by pid and name.
func liveProcesses() []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var list []string
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		i := bytes.LastIndexByte(stat, ')')
		if i < 0 || i+2 >= len(stat) || stat[i+2] == 'Z' || stat[i+2] == 'X' {
			continue
		}
		cmdline, _ := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		what := strings.TrimRight(strings.ReplaceAll(string(cmdline), "\x00", " "), " ")
		if len(what) > 200 {
			what = what[:200]
		}
		list = append(list, "process: "+e.Name()+" "+what)
	}
	return list
}

// devicePrograms lists the loaded programs with one of these hashes.
func devicePrograms(filters []string) []string {
	var list []string
	for id := uint32(0); len(filters) > 0; {
		next := struct{ start, next, flags uint32 }{start: id}
		if !bpf(unix.BPF_PROG_GET_NEXT_ID, unsafe.Pointer(&next), unsafe.Sizeof(next)) {
			break
		}
		id = next.next
		if slices.Contains(filters, programHash(id)) {
			list = append(list, fmt.Sprintf("BPF program: %d", id))
		}
	}
	return list
}

// bpf is bpf(2).
func bpf(cmd uintptr, attr unsafe.Pointer, size uintptr) bool {
	_, _, errno := unix.Syscall(unix.SYS_BPF, cmd, uintptr(attr), size)
	return errno == 0
}

// programHash is the hash of a program's instructions (bpf_prog_info.tag).
func programHash(id uint32) string {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_GET_FD_BY_ID, uintptr(unsafe.Pointer(&id)), unsafe.Sizeof(id))
	if errno != 0 {
		return ""
	}
	defer unix.Close(int(fd))
	var pin runtime.Pinner
	defer pin.Unpin()
	info := new([16]byte) // the beginning of struct bpf_prog_info: type, id, tag
	pin.Pin(info)
	attr := struct {
		fd, len uint32
		info    uint64
	}{uint32(fd), uint32(len(info)), uint64(uintptr(unsafe.Pointer(info)))}
	if !bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)) {
		return ""
	}
	return fmt.Sprintf("%x", info[8:])
}

// DeviceFilters are the hashes of the device filters on a container's version
// 2 cgroup.
func DeviceFilters(id string) (hashes []string) {
	for _, dir := range []string{"/sys/fs/cgroup/", "/sys/fs/cgroup/unified/"} {
		fd, err := unix.Open(dir+id, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		defer unix.Close(fd)
		var pin runtime.Pinner
		defer pin.Unpin()
		ids := new([64]uint32)
		pin.Pin(ids)
		query := struct {
			target, typ, queryFlags, attachFlags    uint32
			ids                                     uint64
			count, _                                uint32
			progFlags, linkIDs, linkFlags, revision uint64
		}{target: uint32(fd), typ: unix.BPF_CGROUP_DEVICE, ids: uint64(uintptr(unsafe.Pointer(ids))), count: uint32(len(ids))}
		if !bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&query), unsafe.Sizeof(query)) {
			continue
		}
		for _, id := range ids[:min(int(query.count), len(ids))] {
			hashes = append(hashes, programHash(id))
		}
	}
	return hashes
}
