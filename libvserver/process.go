package libvserver

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/state"
)

// Process is what /proc tells of a process in a container.
type Process struct {
	Container string
	Xid       uint32
	PID, PPID int // as the caller's pid namespace numbers them
	NSPID     int // as the innermost namespace that the process is in does
	UID       uint32
	User      string // the name of UID on the host, "#1234" if it has none
	State     byte   // R, S, D, T, Z (proc_pid_stat(5))
	Threads   int
	TTY       uint32        // device number of the controlling terminal, 0 for none
	Start     time.Time     // of the process
	CPU       time.Duration // user and system
	RSS       uint64        // bytes
	Command   string        // the arguments, or the name in brackets
}

// Processes returns every process of every container under the root, by container and pid. A container whose processes
// can't be listed is told of in the log.
func (r *Runtime) Processes() ([]Process, error) {
	ids, err := r.Store.IDs()
	if err != nil {
		return nil, err
	}
	var all []Process
	var names state.UserNames
	boot := bootTime()
	for _, id := range ids {
		rec, err := r.Store.Load(id)
		if err != nil {
			continue // deleted, or damaged: list tells
		}
		c := &container{r: r, rec: rec}
		pids, err := c.pids()
		if err != nil {
			log.Warnf("processes of container %s: %v", id, err)
			continue
		}
		slices.Sort(pids)
		for _, pid := range pids {
			p := Process{Container: id, Xid: rec.Xid, PID: pid}
			if !p.read(boot) {
				continue // it has ended
			}
			p.User = names.Name(p.UID)
			all = append(all, p)
		}
	}
	return all, nil
}

// namespacePids lists the processes in the pid namespace of a process.
func namespacePids(of int) ([]int, error) {
	want, err := os.Readlink("/proc/" + itoa(of) + "/ns/pid")
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if ns, err := os.Readlink("/proc/" + e.Name() + "/ns/pid"); err == nil && ns == want {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids) // the names are in the order of text
	return pids, nil
}

// read fills the process in; it returns false if there is none.
func (p *Process) read(boot time.Time) bool {
	dir := "/proc/" + itoa(p.PID)
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil || !p.parseStat(string(stat), boot) {
		return false
	}
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return false
	}
	p.NSPID = p.PID
	for line := range strings.Lines(string(status)) {
		key, val, _ := strings.Cut(line, ":")
		switch key {
		case "Uid": // real, effective, saved, file system
			if f := strings.Fields(val); len(f) == 4 {
				uid, _ := strconv.ParseUint(f[1], 10, 32)
				p.UID = uint32(uid)
			}
		case "NSpid":
			if f := strings.Fields(val); len(f) > 0 {
				p.NSPID, _ = strconv.Atoi(f[len(f)-1])
			}
		}
	}
	cmdline, _ := os.ReadFile(dir + "/cmdline") // none of a zombie or kernel thread
	if cmdline = bytes.TrimRight(cmdline, "\x00"); len(cmdline) > 0 {
		p.Command = string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '}))
	}
	return true
}

// ticks is USER_HZ: 100 on every architecture that Go knows.
const ticks = 100

// parseStat reads proc_pid_stat(5). The name in parentheses may hold anything, so what follows begins at the last one.
func (p *Process) parseStat(s string, boot time.Time) bool {
	open, end := strings.IndexByte(s, '('), strings.LastIndexByte(s, ')')
	if open < 0 || end < open {
		return false
	}
	p.Command = "[" + s[open+1:end] + "]"
	f := strings.Fields(s[end+1:])
	const first = 3 // the number of the field at f[0]
	if len(f) < 24-first+1 {
		return false
	}
	n := func(field int) uint64 {
		v, _ := strconv.ParseInt(f[field-first], 10, 64)
		return uint64(v)
	}
	p.State = f[0][0]
	p.PPID = int(n(4))
	p.TTY = uint32(n(7))
	p.CPU = time.Duration(n(14)+n(15)) * time.Second / ticks
	p.Threads = int(n(20))
	p.Start = boot.Add(time.Duration(n(22)) * time.Second / ticks)
	p.RSS = n(24) * uint64(os.Getpagesize())
	return true
}

// bootTime is when the machine was started, by today's clock.
func bootTime() time.Time { return time.Now().Add(-sinceBoot()) }

// sinceBoot includes time asleep, as start times in /proc do.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) // fails on no kernel since 2.6.39
	return time.Duration(ts.Nano())
}
