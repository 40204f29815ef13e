package state

import "time"

// Record is what state.json holds. Strings and bytes of a loaded record share
// one buffer, and are not to be modified.
type Record struct {
	// ID is the container's id.
	ID string

	// InitPid is the pid of the container's first process in the caller's pid
	// namespace, 0 while there is none yet. InitStart is when it started, in
	// clock ticks since boot (field 22 of proc_pid_stat(5)), which tells it
	// from a later process of the same pid.
	InitPid   int
	InitStart uint64

	// Created is when create was called, in UTC.
	Created time.Time

	// Rootless says that the container was made without root's privilege.
	Rootless bool

	// CgroupPaths are the cgroup's directories by controller, under the key ""
	// for version 2.
	CgroupPaths map[string]string

	// ExternalDescriptors are the targets of init's file descriptors 0, 1 and 2
	// at its start, which checkpointing needs.
	ExternalDescriptors []string

	// IntelRdtPath is the directory in resctrl, if any.
	IntelRdtPath string

	// OCIVersion, Bundle (absolute), and Annotations are config.json's; Rootfs
	// is root.path made absolute.
	OCIVersion  string
	Bundle      string
	Rootfs      string
	Annotations map[string]string

	// Creating is set from before anything is made until create is done.
	Creating bool

	// Owner is the user id that created the container.
	Owner uint32

	// Xid is the context id, 0 if none was given.
	Xid uint32

	// ExecFifo is the name in the container's directory of the FIFO that init
	// waits on until start; the file is gone once the container was started.
	ExecFifo string

	// NoPivot and SystemdCgroup are the flags of these names that create was given.
	NoPivot       bool
	SystemdCgroup bool

	// Config is config.json as create read it. It is stored unparsed: reading a
	// record does not check it.
	Config []byte

	parts []part
}

// part is a sub-document of another package.
type part struct {
	name string
	json []byte
}

// Part returns the JSON document stored under a name, nil if there is none.
// Names are those of the packages that own the documents ("cgroup").
func (r *Record) Part(name string) []byte {
	for i := range r.parts {
		if r.parts[i].name == name {
			return r.parts[i].json
		}
	}
	return nil
}

// SetPart stores a JSON document under a name; nil removes it.
func (r *Record) SetPart(name string, json []byte) {
	for i := range r.parts {
		if r.parts[i].name == name {
			if json == nil {
				r.parts = append(r.parts[:i], r.parts[i+1:]...)
			} else {
				r.parts[i].json = json
			}
			return
		}
	}
	if json != nil {
		r.parts = append(r.parts, part{name, json})
	}
}
