package host

// Group is a heading and the features under it.
type Group struct {
	Name     string
	Features []*Feature
}

// Groups lists every feature, for doctor and for tests. It is a function so
// that a program which never lists them does not carry their probes.
func Groups() []Group {
	return []Group{
		{"processes", []*Feature{
			Clone3, CloneIntoCgroup, CloneClearSighand, PidfdOpen, PidfdSendSignal, PidfdGetfd, SetnsPidfd,
			CloseRange, CloseRangeCloexec, MemfdExec, AmbientCaps, Securebits, Keyrings, CoreScheduling, MemoryPolicy,
		}},
		{"mounts", []*Feature{
			Openat2, Faccessat2, MountAPI, MountSetattr, IdmappedMounts, Nosymfollow, OpenTreeAttr, OpenTreeNamespace,
			Statmount, ProcSubset, Mqueue, Overlay, OverlayMetacopy, OverlayUserns, QuotactlFd, Resctrl,
		}},
		{"namespaces", []*Feature{
			MountNamespaces, PidNamespaces, NetNamespaces, IpcNamespaces, UtsNamespaces, UserNamespaces, CgroupNamespaces, TimeNamespaces,
		}},
		{"seccomp", []*Feature{
			SeccompFilter, SeccompNotify, SeccompKillProcess, SeccompLog, SeccompSpecAllow, SeccompTsyncEsrch, SeccompWaitKillable,
		}},
		{"cgroup", []*Feature{CgroupKill, CgroupBPFDevice}},
		{"network contexts", []*Feature{CgroupBPFSock, CgroupBPFGetname, CgroupBPFSockRelease, BPFSkLookup, BPFSetRetval, TCX, NetnsCookie}},
		{"lsm", []*Feature{Landlock}},
	}
}
