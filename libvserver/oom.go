package libvserver

import (
	"strconv"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/state"
)

// AnnotationOOMKilled is in the state of a container as soon as the kernel has killed processes of it for want of memory
// (OOM), also after its end, until it is deleted. The value is how many.
const AnnotationOOMKilled = "org.linux-vserver.oom-killed"

// annotateOOM adds the annotation, if there is cause, to a container's report.
func (r *Runtime) annotateOOM(rep *state.Report, rec *state.Record) {
	c := &container{r: r, rec: rec}
	kills := c.oomKills()
	if kills == 0 {
		return
	}
	all := make(map[string]string, len(rep.Annotations)+1)
	for k, v := range rep.Annotations {
		all[k] = v
	}
	all[AnnotationOOMKilled] = strconv.FormatUint(kills, 10)
	rep.Annotations = all
}

// oomKills is how many processes were killed for want of memory.
func (c *container) oomKills() uint64 {
	m, err := c.cgroup()
	if err != nil || m == nil {
		return 0
	}
	n, err := m.OOMKills()
	if err != nil {
		return 0
	}
	return n
}

// outOfMemory says that processes were killed for want of memory, and whose limit it was; "" if none were.
func (c *container) outOfMemory() string {
	kills := c.oomKills()
	if kills == 0 {
		return ""
	}
	s := "out of memory: the OOM killer killed " + strconv.FormatUint(kills, 10) + " process"
	if kills > 1 {
		s += "es"
	}
	if limit := c.cg.MemoryLimit(); limit != cgroup.NoLimit {
		return s + " of the container, whose limit is " + strconv.FormatUint(limit, 10) + " bytes"
	}
	return s + " of the container, which has no limit of its own (a cgroup above it has, or the host ran out)"
}
