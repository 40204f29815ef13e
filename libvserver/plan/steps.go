package plan

import "strconv"

// Namespace is a namespace of the container: new, or joined by path.
type Namespace struct {
	Origin
	Flag uintptr // CLONE_NEW*
	Name string  // as in config.json: "pid", "network", …
	Path string  // "" for a new one
	// Inside: the container's process makes or joins it by a step of its own, with the privileges that it has in its
	// user namespace. Else the runtime does, with its own.
	Inside bool
}

func (n Namespace) String() string {
	if n.Path == "" {
		return "new " + n.Name + " namespace"
	}
	return "join " + n.Name + " namespace " + n.Path
}

// IDMap is one line of uid_map or gid_map (user_namespaces(7)).
type IDMap struct{ Container, Host, Size uint32 }

// Clone is the birth of the container's process.
type Clone struct {
	Origin
	New        []Namespace
	Join       []Namespace
	UIDs, GIDs []IDMap
	// OwnUID, OwnGID: the map is the caller's own id alone, and is written without privileges.
	OwnUID, OwnGID bool
	// TimeOffsets are lines for /proc/PID/timens_offsets.
	TimeOffsets []string
	// Cgroup is linux.cgroupsPath as given.
	Cgroup string
}

// Has tells if a new namespace of that kind is made.
func (c *Clone) Has(flag uintptr) bool { return find(c.New, flag) }

// Joins tells if a namespace of that kind is joined by path.
func (c *Clone) Joins(flag uintptr) bool { return find(c.Join, flag) }

func find(list []Namespace, flag uintptr) bool {
	for i := range list {
		if list[i].Flag == flag {
			return true
		}
	}
	return false
}

func (c Clone) String() string {
	s := "clone a process"
	sep := " with new namespaces: "
	for _, n := range c.New {
		if !n.Inside {
			s += sep + n.Name
			sep = " "
		}
	}
	return s
}

// NetDevice is a network device that the runtime moves into the container's network namespace.
type NetDevice struct {
	Origin
	Host string // its name on the host
	Name string // and in the container; %d in it is replaced by a number that is free
}

func (d NetDevice) String() string {
	return "move network device " + d.Host + " into the container as " + d.Name + ", with its addresses, and set it up"
}

// Await waits for the runtime at a stage.
type Await struct {
	Origin
	Stage Stage
}

func (s Await) String() string {
	switch s.Stage {
	case StageIDs:
		return "wait for the runtime to write uid_map and gid_map"
	case StageCgroup:
		return "wait to be put into the cgroup"
	case StageHooks:
		return "wait for prestart, createRuntime and createContainer hooks"
	case StageHome:
		return "wait for HOME from the container's /etc/passwd"
	case StageCreated:
		return "wait until the container is recorded as created"
	case StageRecorded:
		return "wait until the container is recorded"
	case StageStart:
		return "wait for startContainer hooks"
	case StageNetDevices:
		return "wait for the network devices"
	case StageScheduling:
		return "wait for the runtime to set the scheduling policy"
	case StageListener:
		return "hand over the seccomp notify descriptor"
	}
	return "wait for " + s.Stage.String()
}

// JoinNamespace enters an existing namespace in the child itself.
type JoinNamespace struct{ Namespace }

// NewNamespaces makes namespaces in the child itself: they belong to its user namespace (namespaces(7)).
type NewNamespaces struct {
	Origin
	Flags uintptr // CLONE_NEW*
	Names string
	// TimeOffsets are lines for /proc/self/timens_offsets.
	TimeOffsets []string
	// Fork: the process goes on in a child, since only children are born into a pid or time namespace, be it new or
	// joined. Flags may be 0 then.
	Fork bool
}

func (s NewNamespaces) String() string {
	switch {
	case s.Flags == 0:
		return "go on in a child, which is in the pid and time namespaces"
	case s.Fork:
		return "make new namespaces: " + s.Names + ", and go on in a child"
	}
	return "make new namespaces: " + s.Names
}

// Dumpable lets a runtime without privileges over the host look after the process: the files in /proc of one that has
// changed its ids belong to root, and its descriptors can't be taken (PR_SET_DUMPABLE in prctl(2)). Nobody else is in
// its new user namespace yet.
type Dumpable struct{ Origin }

func (Dumpable) String() string { return "let the unprivileged runtime look after the process" }

// OpenRoot opens the root filesystem's directory while the process still has the caller's identity: root of a user
// namespace is somebody else on the host, who may not pass through the directories above.
type OpenRoot struct {
	Origin
	Path string
}

func (s OpenRoot) String() string {
	return "open the root filesystem's directory " + strconv.Quote(s.Path)
}

// BecomeRoot takes uid and gid 0 of a new or joined user namespace.
type BecomeRoot struct {
	Origin
	KeepGroups bool // the caller's supplementary groups, too
}

func (BecomeRoot) String() string { return "become uid 0 and gid 0 of the user namespace" }

// JoinCgroup puts the process into its cgroup, then makes the cgroup namespace where one is asked for.
type JoinCgroup struct {
	Origin
	NewNamespace bool
}

func (s JoinCgroup) String() string {
	if s.NewNamespace {
		return "join the container's cgroup and make it the root of a new cgroup namespace"
	}
	return "join the container's cgroup"
}

// NewSession makes the process a session leader (setsid(2)).
type NewSession struct{ Origin }

func (NewSession) String() string { return "start a new session" }

// Keyring gives the process a session keyring of its own (keyrings(7)).
type Keyring struct {
	Origin
	Name string
}

func (s Keyring) String() string { return "join session keyring " + s.Name }

// Propagation sets the propagation of a whole mount tree.
type Propagation struct {
	Origin
	Path  string // "/" : the host's tree before pivot_root, or the container's after it
	Flags uint64 // MS_SHARED, MS_SLAVE, MS_PRIVATE or MS_UNBINDABLE
	Deep  bool   // MS_REC
	Named string // "rslave"
}

func (s Propagation) String() string { return "make " + s.Path + " " + s.Named }

// MountRoot mounts the root filesystem on itself, which makes it a mount that pivot_root(2) takes.
type MountRoot struct {
	Origin
	Path string
	// ParentPrivate: the mount that the rootfs lies in must not be shared, or pivot_root(2) refuses it.
	ParentPrivate bool
	// Private: what is mounted below it is not for its peers: in the caller's mount namespace that is the mount it lies in.
	Private bool
	// Overlay, if not nil, is mounted there instead.
	Overlay *Overlay
}

func (s MountRoot) String() string {
	if s.Overlay != nil {
		return s.Overlay.String()
	}
	return "mount the root filesystem " + strconv.Quote(s.Path)
}

// PivotRoot makes the rootfs the root and drops the old one.
type PivotRoot struct {
	Origin
	// Move moves the mount over / and chroots instead (--no-pivot).
	Move bool
}

func (s PivotRoot) String() string {
	if s.Move {
		return "move the root filesystem to / and chroot into it"
	}
	return "pivot_root into the root filesystem and unmount the old root"
}

// Chroot enters the rootfs where the container has no mount namespace of its own.
type Chroot struct {
	Origin
	Path string
}

func (s Chroot) String() string { return "chroot into " + strconv.Quote(s.Path) }

// ReadonlyRoot makes the root filesystem's mount read-only.
type ReadonlyRoot struct{ Origin }

func (ReadonlyRoot) String() string { return "make the root filesystem read-only" }

// ReadonlyMount makes an earlier mount read-only after everything that had to be made in it was made.
type ReadonlyMount struct {
	Origin
	Path string
}

func (s ReadonlyMount) String() string { return "make the mount on " + s.Path + " read-only" }

// MaskPath hides a path: a file under /dev/null, a directory under an empty read-only tmpfs.
type MaskPath struct {
	Origin
	Path string
}

func (s MaskPath) String() string { return "mask " + s.Path }

// ReadonlyPath mounts a path on itself, read-only.
type ReadonlyPath struct {
	Origin
	Path string
}

func (s ReadonlyPath) String() string { return "make " + s.Path + " read-only" }

// Device makes a device node, or binds the host's where mknod(2) is not allowed.
type Device struct {
	Origin
	Path         string
	Mode         uint32 // type and permissions, as mknod(2) takes them
	Major, Minor uint32
	UID, GID     uint32
	Bind         bool
	// FromParent: the runtime makes the node, which is bound: where mknod(2) is not allowed the host's has another mode or
	// owner than is asked for, or there is none.
	FromParent       bool
	HostUID, HostGID uint32 // UID and GID in the runtime's user namespace
	Label            string // SELinux label of such a node
	// Existing: it must be there already, in a /dev that is the host's.
	Existing bool
}

func (s Device) String() string {
	if s.Existing {
		return "look for device " + s.Path + " in the /dev that is bound"
	}
	kind := "character device"
	switch s.Mode & sIFMT {
	case sIFBLK:
		kind = "block device"
	case sIFIFO:
		return "make fifo " + s.Path
	}
	number := strconv.FormatUint(uint64(s.Major), 10) + ":" + strconv.FormatUint(uint64(s.Minor), 10)
	switch {
	case s.FromParent:
		return "bind " + kind + " " + number + " of the runtime's making on " + s.Path
	case s.Bind:
		return "bind the host's " + s.Path
	}
	return "make " + kind + " " + s.Path + " " + number
}

// Symlink makes a symbolic link if there is nothing in its place.
type Symlink struct {
	Origin
	Path, Target string
	// IfExists: only when this path exists on the host side of the process (/proc/kcore).
	IfExists string
	// Replace removes a file that is in the way (/dev/ptmx).
	Replace bool
	// Strict: what is in its place already must be that link.
	Strict bool
}

func (s Symlink) String() string { return "link " + s.Path + " to " + s.Target }

// Directory makes a directory in the rootfs where it is missing.
type Directory struct {
	Origin
	Path string
}

func (s Directory) String() string { return "make directory " + s.Path }

// Console allocates a pty, makes it the standard streams and puts it on /dev/console.
type Console struct {
	Origin
	Terminal
	UID uint32
	// Mount is set where the container has a /dev of its own to put it in.
	Mount bool
}

func (Console) String() string { return "allocate a terminal" }
