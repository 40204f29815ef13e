package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/vsrun/vsrun/libvserver/host"
)

// Update changes the limits that r sets and leaves the others as they are. If a value is refused, those written before
// it are put back. Device rules are not touched, whatever r says: engines send the whole of linux.resources, hooks may
// have added devices to what the config allowed, and rewriting rules would close /dev/null for a moment.
func (m *Manager) Update(r *specs.LinuxResources) error {
	if r == nil {
		return nil
	}
	res, err := convert(r)
	if err != nil {
		return err
	}
	ws, err := m.plan(&res, m.currentValue)
	if err != nil {
		return err
	}
	m.writes = ws
	if len(m.dirs) == 0 {
		return m.checkNoLimits()
	}
	if m.layout == host.CgroupV2 {
		if err := m.checkUsage(&res); err != nil {
			return err
		}
	}
	if m.layout == host.CgroupV2 || m.wantsUnified() {
		m.enableControllers(&m.dirs[len(m.dirs)-1])
	}
	var undo undoLog
	err = m.put(ws, &undo)
	if err == nil && m.driver == DriverSystemd {
		err = m.updateUnit(&res)
	}
	if err != nil {
		if uerr := m.put(undo.writes(), nil); uerr != nil {
			err = errors.Join(err, fmt.Errorf("and an old value could not be put back: %w", uerr))
		}
		return err
	}
	return nil
}

// currentValue reads a file of the version 2 cgroup.
func (m *Manager) currentValue(file string) string {
	d := m.dirOf("")
	if d == nil {
		return ""
	}
	s, _ := readValue(d.path + "/" + file)
	return s
}

// checkUsage refuses a memory limit below what is in use, if linux.resources.memory.checkBeforeUpdate asks for it: the
// version 2 kernel would take it and kill. Version 1 refuses by itself.
func (m *Manager) checkUsage(res *resources) error {
	if !res.memoryCheck {
		return nil
	}
	use, err := strconv.ParseInt(m.currentValue("memory.current"), 10, 64)
	if err != nil {
		return nil // not accounted
	}
	for _, l := range [...]struct {
		name  string
		limit int64
	}{{"limit", res.memory}, {"swap", res.memorySwap}} {
		if l.limit > 0 && l.limit <= use {
			return fmt.Errorf("%s.memory.%s: %d is not above the current use of %d bytes", placeRes, l.name, l.limit, use)
		}
	}
	return nil
}

// undoLog keeps what an update overwrites.
type undoLog struct{ old []write }

// writes are those that put everything back, in the opposite order. Each may have to wait for others of them.
func (u *undoLog) writes() []write {
	ws := make([]write, 0, len(u.old))
	for i := len(u.old) - 1; i >= 0; i-- {
		ws = append(ws, u.old[i])
	}
	return ws
}

// save notes the present content of path, which w is about to overwrite.
func (u *undoLog) save(path string, w *write) {
	content, err := readAll(path)
	if err != nil {
		return // not there or not readable: then not to be restored either
	}
	old := *w
	old.flag = laterOnEINVAL | optional
	if noValue, ok := tableFile(w.file); ok {
		for line := range strings.SplitSeq(w.val, "\n") {
			key, _, ok := strings.Cut(strings.TrimSpace(line), " ")
			if !ok {
				key = "default" // "100" stands for "default 100" in io.weight
			}
			old.val = key + " " + noValue
			for l := range strings.SplitSeq(content, "\n") {
				if strings.HasPrefix(l, key+" ") {
					old.val = l
				}
			}
			u.old = append(u.old, old)
		}
		return
	}
	switch old.val = strings.TrimSpace(content); {
	case w.file == "memory.oom_control":
		n, _ := keyValue(content, "oom_kill_disable")
		old.val = strconv.FormatUint(n, 10)
	case old.val == "":
		old.val = "\n"
	}
	u.old = append(u.old, old)
}

// tableFile reports whether a file holds a line for each device, interface or resource, and what to write for one that
// has no line.
func tableFile(file string) (noValue string, ok bool) {
	switch {
	case file == "io.max":
		return "rbps=max wbps=max riops=max wiops=max", true
	case file == "io.weight", file == "io.bfq.weight":
		return "default", true
	case file == "io.latency":
		return "target=0", true
	case file == "rdma.max":
		return "hca_handle=max hca_object=max", true
	case file == "misc.max":
		return "max", true
	case strings.HasPrefix(file, "blkio.throttle."), strings.HasSuffix(file, "weight_device"), file == "net_prio.ifpriomap":
		return "0", true
	}
	return "", false
}
