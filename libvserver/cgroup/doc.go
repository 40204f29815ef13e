// Package cgroup puts a container into control groups: it makes the directories, sets limits and device rules,
// hands out what a child needs to join, and freezes, kills, measures and removes.
//
// It works on pure version 1, on hybrid hosts (version 1 controllers and a version 2 tree at unified/) and on pure
// version 2, by plain files or through systemd. The systemd driver and statistics are those of
// github.com/opencontainers/cgroups, in a process of their own: see runJob and package job. All else is done here.
//
// # Why not all by the library
//
// A manager of the library places a running process by its pid. On both versions that takes the kernel's global
// cgroup_threadgroup_rwsem for writing, which after a quiet moment waits for an RCU grace period. Measured on Linux
// 6.18, 2 CPUs, a file's first write after 150 ms of quiet, medians of 14:
//
//	a pid into tasks or cgroup.procs, by the parent    13.4 ms
//	"0" into cgroup.procs, by the child itself          5.5 ms
//	"0" into tasks (v1), by the child itself            0.025 ms
//	clone3 with CLONE_INTO_CGROUP against without       0.36 against 0.21 ms
//
// So the child joins by itself: see [Manager.JoinFDs]. The kernel skips the lock for tasks because a thread that
// moves itself can't change under its own hands (cgroup_procs_write_start in kernel/cgroup/cgroup.c).
//
// Against the library in a new process (medians of 40, same host, 10 hierarchies, in ms): working out paths 0.08
// against 0.44; making directories, here with opening tasks, 0.48 against 0.45; three limits 0.06 against 0.07; the
// default device rules 0.05, of which the library does nothing without its devices package; removing 0.20 against
// 0.18. On pure version 2 the two are equal (0.14 in all) but for the device filter, 0.18. Of making the directories a
// third is cpuset's: its first child cgroup on a host has the kernel patch its own code.
//
// Limits are written here not for speed but for what the library does not do: errors that name the place in
// config.json, an update that puts old values back, and no silence about settings it has no file for.
//
// # Order
//
//	m, err := New(options)      // works out paths and checks values; changes nothing
//	err = m.Create()            // makes the directories
//	err = m.Set()               // limits and device rules, before anything is inside
//	j, err := m.JoinFDs()       // clone3 into j.Cgroup; the child writes "0" into each of j.Tasks
//	m.Close()
//
// With the systemd driver ([Manager.NeedsPid]) the child is started first and waits while [Manager.ApplyPid] has
// systemd make a scope around it; Create, Set and JoinFDs then do nothing.
//
// A new cgroup namespace has the cgroups of its maker's moment as its root. On pure version 2 clone3 may make it:
// with CLONE_INTO_CGROUP the kernel takes the new cgroup as the root. Where there are tasks files the child must write
// them first and unshare then.
//
// # What it must not touch
//
// Cgroups that it did not make are never removed. It imports nothing of this module but host, log, helper and
// spec/wire, and not the library: with D-Bus, net, crypto and encoding/json behind it that takes 0.4 ms of every start
// of vsrun, 0.5 ms with its devices package, which links cilium/ebpf.
package cgroup
