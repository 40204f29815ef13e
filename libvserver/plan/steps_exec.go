package plan

import "golang.org/x/sys/unix"

// JoinContainer enters the namespaces of a running container in one step (setns(2) with a pidfd, Linux 5.8). From here
// on the container's processes may look at this one: it gives up the descriptors that it does not need any more, and
// lets nobody trace it who has not the privilege to.
type JoinContainer struct {
	Origin
	Namespaces uintptr // CLONE_NEW* flags
	Preserve   int     // how many descriptors from 3 on are the program's
}

func (s JoinContainer) String() string {
	if s.Namespaces == 0 {
		return "join the container, which has no namespaces of its own"
	}
	out := "join the container's namespaces:"
	for _, n := range [...]struct {
		flag uintptr
		name string
	}{
		{unix.CLONE_NEWUSER, "user"}, {unix.CLONE_NEWPID, "pid"}, {unix.CLONE_NEWNS, "mount"}, {unix.CLONE_NEWNET, "network"},
		{unix.CLONE_NEWIPC, "ipc"}, {unix.CLONE_NEWUTS, "uts"}, {unix.CLONE_NEWCGROUP, "cgroup"}, {unix.CLONE_NEWTIME, "time"},
	} {
		if s.Namespaces&n.flag != 0 {
			out += " " + n.name
		}
	}
	return out
}

// EnterRoot enters the root directory of the container's first process, where no mount namespace brings it.
type EnterRoot struct{ Origin }

func (EnterRoot) String() string { return "enter the container's root directory" }

// Tell tells the runtime that a stage is reached, and goes on.
type Tell struct {
	Origin
	Stage Stage
}

func (s Tell) String() string { return "tell the runtime: " + s.Stage.String() }
