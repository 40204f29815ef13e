package cgroup

// Stats reads the statistics of all controllers. The answer is JSON: the data member of what runc events --stats prints
// (types.Stats in runc). It starts a process, see runJob.
func (m *Manager) Stats() ([]byte, error) {
	if len(m.dirs) == 0 {
		return nil, ErrNoCgroup
	}
	w := m.beginRequest()
	w.EndObject()
	return runJob("cgroup-stats", w.Bytes())
}

// OOMKills returns how many processes of the container the kernel has killed for want of memory since it was made (Linux
// 4.13). It is 0 where memory is not accounted.
func (m *Manager) OOMKills() (uint64, error) {
	d := m.dirFor("memory")
	if d == nil {
		return 0, nil
	}
	file := "/memory.oom_control"
	if d.v2() {
		file = "/memory.events"
	}
	s, err := readFile(d.path + file)
	if err != nil {
		if gone(err) {
			err = nil
		}
		return 0, err
	}
	n, _ := keyValue(s, "oom_kill")
	return n, nil
}
