// Package plan turns a checked bundle and a few facts about the host into the ordered list of steps that make up a
// launch. It changes nothing: golden files test it without root, and `vsrun explain` prints what it returns.
//
// The order in which a container is built is decided here, once, in build.go. The package knows config.json (spec); it
// knows nothing of how steps are carried out (launch), of state or of cgroup managers.
package plan

// Plan is a launch: what the runtime itself does first, then what the container's process does to itself.
type Plan struct {
	ID       string
	Warnings []string

	Clone Clone
	Steps []Step

	// Rootfs is the absolute path of the root filesystem on the host.
	Rootfs string
	// Overlay is what it is made of if it is a unified tree, else nil.
	Overlay *Overlay
	// CallerMounts: the mounts are made in the caller's mount namespace, for want of one in the config.
	CallerMounts bool
	// RootReadonly, Console and Hooks say what the caller has to prepare.
	Console Terminal
	// Untraceable: the process is kept from the eyes of others in its namespaces until it executes its program. A runtime
	// without privileges could not look after such a process itself.
	Untraceable bool
	// NetDevices are moved into the container's network namespace, in order.
	NetDevices []NetDevice
	// Network are the steps by which the runtime confines the cgroup to a network context and counts its sockets.
	Network []Step
	// Scheduling are the steps that the runtime takes for its process at StageScheduling.
	Scheduling []Step
	// Affinity are the CPUs that the runtime's thread is to run on while it clones, a bit each; nil: as they are.
	Affinity []uint64
	// Stages are the points at which the container's process waits for the runtime, in order.
	Stages []Stage
}

// Terminal tells what the process's standard streams are.
type Terminal struct {
	Wanted        bool
	Width, Height uint16
}

// Step is one thing that happens in a launch.
type Step interface {
	// At is the place in config.json that asks for the step ("mounts[3]"), or "default" where the spec or the runtime does.
	At() string
	// String says what the step does, in words fit for an error message: `mount tmpfs on /dev/shm`.
	String() string
}

// Origin is embedded by every step.
type Origin string

// At implements Step.
func (o Origin) At() string { return string(o) }

// Default is the origin of steps that no line of config.json asks for.
const Default = Origin("default")

// Stage is a point where the child waits until the runtime has done what needs a full process.
type Stage uint32

// Stages, in the order in which a launch reaches them.
const (
	// StageIDs: uid_map and gid_map are written.
	StageIDs Stage = iota
	// StageCgroup: the process has been put into its cgroup by systemd.
	StageCgroup
	// StageCopyUp: the covered directory of a tmpfs is copied into it.
	StageCopyUp
	// StageConsole: the master of the pty has been taken (foreground terminals).
	StageConsole
	// StageHooks: prestart, createRuntime and createContainer hooks run.
	StageHooks
	// StageHome: HOME is looked up in the container's /etc/passwd.
	StageHome
	// StageCreated: the environment is complete; the runtime records it.
	StageCreated
	// StageRecorded: the runtime has recorded the container, which nobody waits to see; the process does not ask.
	StageRecorded
	// StageStart: startContainer hooks run.
	StageStart
	// StageListener: the seccomp notify descriptor is handed over.
	StageListener
	// StageExec: the program is next (exec).
	StageExec
	// StageRelay: the caller's terminal and the process's are connected (exec in the foreground).
	StageRelay
	// StageNetDevices: the network devices of the host are moved into the container's namespace.
	StageNetDevices
	// StageScheduling: the runtime has set the scheduling policy and the I/O priority of a process in a user namespace.
	StageScheduling
)

var stageNames = [...]string{"id maps", "cgroup", "copy up", "console", "hooks", "home", "created", "recorded", "start", "seccomp listener", "program", "terminal relay", "network devices", "scheduling"}

func (s Stage) String() string { return stageNames[s] }
