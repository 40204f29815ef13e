// Package fault names the points at which tests stop the runtime: a build with the tag faults kills itself there, as the
// environment says (on.go). A point is written
//
//	_ = fault.On && fault.At(fault.Cloned)
//
// of which nothing is left in the product, where [On] is false; tests/faults proves it. It imports nothing of the runtime, and decides nothing.
//
// A point stands where the world has just changed: something exists now, or is gone, that a crash would leave. A new one
// is a line here and a call of At; the tests find it by this table, and fail if nothing reaches it.
package fault

// The environment of the test build.
const (
	// Orders lists what is to happen, separated by commas: KIND:NAME[#OCCURRENCE]=ACTION. The kinds are point, and those
	// of launch: step, outside, insn, hook. The actions are "kill" (the runtime, by SIGKILL) and, for the kinds of launch, "die"
	// (the container's process) and a number: an errno.
	Orders = "VSRUN_FAULT"
	// Trace is a file to which every place is appended that Orders can name, in the order in which it is reached.
	Trace = "VSRUN_FAULT_TRACE"
)

// DieStatus is the exit status of a container's process that an order has ended.
const DieStatus = 177

// Point is a point in the runtime's own work. The steps of a plan need none: launch has them from the plan.
type Point uint8

// In the order in which a container's life reaches them.
const (
	// Checked: the bundle is read, checked and planned; nothing is made.
	Checked Point = iota
	// Reserved: the container's directory is there, without a record.
	Reserved
	// Written: a record is written under its temporary name.
	Written
	// Recorded: the first record is there.
	Recorded
	// NotifyMade: so is the directory for sd_notify.
	NotifyMade
	// CgroupMade: the cgroup is made, without limits.
	CgroupMade
	// Listening: the socket for start is there.
	Listening
	// Cloned: the container's process is there, in no record.
	Cloned
	// Limited: the limits are set.
	Limited
	// Loaded: the process has all of its program.
	Loaded
	// StageReached: the process waits.
	StageReached
	// StageServed: what it waits for is done, and it does not know yet.
	StageServed
	// CreatedRecorded: the record says that the container is created.
	CreatedRecorded
	// PidFileWritten: the file of --pid-file is there under a temporary name.
	PidFileWritten
	// UndoKilled: a create has failed, and its process is dead.
	UndoKilled
	// UndoCgroup: and its cgroup gone.
	UndoCgroup
	// Connected: start is connected with the process.
	Connected
	// SocketGone: the socket for start is removed.
	SocketGone
	// Released: the process has got its word to go.
	Released
	// Started: the program runs.
	Started
	// Foreground: run waits for the program's end.
	Foreground
	// Ended: it has come.
	Ended
	// ExecPlanned: the process of an exec is planned.
	ExecPlanned
	// ExecJoined: it is in the container.
	ExecJoined
	// ExecReady: its program runs.
	ExecReady
	// ExecEnded: and has ended.
	ExecEnded
	// Signalled: kill has sent its signal.
	Signalled
	// Freezing: pause is about to freeze.
	Freezing
	// Frozen: the processes stand still.
	Frozen
	// Thawed: they go on.
	Thawed
	// Updated: the new limits are set, and not recorded.
	Updated
	// CriuStarted: CRIU runs.
	CriuStarted
	// Dumped: the images are complete.
	Dumped
	// Restored: CRIU has restored the processes.
	Restored
	// Killed: delete has ended the processes.
	Killed
	// CgroupGone: the cgroup is removed.
	CgroupGone
	// Emptied: the container's directory is empty.
	Emptied
	// StateGone: it is removed.
	StateGone

	count
)

var names = [count]string{
	Checked: "checked", Reserved: "reserved", Written: "written", Recorded: "recorded", NotifyMade: "notify-made",
	CgroupMade: "cgroup-made", Listening: "listening", Cloned: "cloned", Limited: "limited", Loaded: "loaded",
	StageReached: "stage-reached", StageServed: "stage-served", CreatedRecorded: "created-recorded",
	PidFileWritten: "pid-file-written", UndoKilled: "undo-killed", UndoCgroup: "undo-cgroup",
	Connected: "connected", SocketGone: "socket-gone", Released: "released", Started: "started",
	Foreground: "foreground", Ended: "ended",
	ExecPlanned: "exec-planned", ExecJoined: "exec-joined", ExecReady: "exec-ready", ExecEnded: "exec-ended",
	Signalled: "signalled", Freezing: "freezing", Frozen: "frozen", Thawed: "thawed", Updated: "updated",
	CriuStarted: "criu-started", Dumped: "dumped", Restored: "restored",
	Killed: "killed", CgroupGone: "cgroup-gone", Emptied: "emptied", StateGone: "state-gone",
}

func (p Point) String() string { return names[p] }

// All are the names of all points.
func All() []string { return append([]string(nil), names[:]...) }
