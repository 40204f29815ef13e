package libvserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/hooks"
	"github.com/vsrun/vsrun/libvserver/console"
	"github.com/vsrun/vsrun/libvserver/criu"
	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
)

// RestoreOptions are the flags of restore.
type RestoreOptions struct {
	RunOptions
	CriuOptions
	LSMProfile, LSMMountContext string
	TCPClose                    bool
}

// restoration is a container that CRIU makes from images.
type restoration struct {
	*creation
	o     *RestoreOptions
	dirs  *criuDirs
	notes *notes // what CRIU says outside of its log, if its standard error is not the container's
	outer []outerMount
	// noNewPrivs: CRIU is to have no_new_privs, which what it restores inherits.
	noNewPrivs bool
	netns      int  // that it joins, 0 for none
	done       bool // CRIU has made the container and let it go
}

// Restore makes a container of the images that Checkpoint has left. Otherwise it is Run.
func (r *Runtime) Restore(o *RestoreOptions) (status int, err error) {
	path, err := findCriu()
	if err != nil {
		return 1, err
	}
	if err := o.CriuOptions.check(); err != nil {
		return 1, err
	}
	n, err := r.newCreation(&o.CreateOptions, false)
	if err != nil {
		return 1, err
	}
	defer n.close()
	if err := n.build(); err != nil {
		return 1, err
	}
	n.remember()
	// They ran when the container was started first, and CRIU restores what came of it.
	n.hooks.StartHooks, n.hooks.PostStart = false, false
	if n.plan.CallerMounts {
		return 1, errors.New("a container without a mount namespace of its own can't be restored")
	}
	if err := n.terminalFits(&o.RunOptions); err != nil {
		return 1, err
	}
	if os.Geteuid() != 0 || host.InUserNamespace() {
		log.Warnf("vsrun restore is untested with rootless containers")
	}
	if err := n.catchSignals(&o.RunOptions); err != nil {
		return 1, err
	}
	s := &restoration{creation: n, o: o}
	if s.dirs, err = o.openDirs("restore.log", false); err != nil {
		return 1, err
	}
	defer s.dirs.close()
	if err := s.restore(path); err != nil {
		return 1, fmt.Errorf("restore of container %s: %w", o.ID, err)
	}
	if o.Detach {
		return 0, nil
	}
	log.Flush()
	return n.foreground(&o.RunOptions)
}

// restore makes the container. When it fails, nothing of it is left.
func (s *restoration) restore(path string) (err error) {
	if s.dir, err = s.r.Store.Reserve(s.creation.o.ID); err != nil {
		return err
	}
	s.rec = s.newRecord()
	s.rec.ExecFifo = "" // nobody will start it
	defer func() {
		if err != nil {
			err = s.undo(err)
		}
	}()
	if err := s.findRdt(); err != nil {
		return err
	}
	if s.rdt != nil {
		s.rec.IntelRdtPath = s.rdt.dir
	}
	if err := s.save(); err != nil {
		return err
	}
	if err := s.cg.Create(); err != nil {
		return err
	}
	s.cg.Close() // CRIU is put into it
	if err := s.cg.Set(); err != nil {
		return err
	}
	if s.rdt != nil {
		if err := s.rdt.make(); err != nil {
			return err
		}
	}
	q := &proto.Request{Kind: proto.Restore, Options: s.o.options()}
	extra, err := s.describe(&q.Options)
	for _, fd := range extra {
		defer unix.Close(fd)
	}
	if err != nil {
		return err
	}
	opt := &criu.Options{Path: path, Stdio: [3]int{0, 1, 2}, Extra: extra}
	if s.plan.Console.Wanted {
		// The streams are those of its terminal; the caller's are none of CRIU's business.
		if s.notes, err = newNotes(); err != nil {
			return err
		}
		defer s.notes.close()
		opt.Stdio = [3]int{-1, -1, s.notes.fd}
	}
	s.dirs.fresh()
	if err := s.noNewPrivileges(path); err != nil {
		return err
	}
	c, err := s.begin(opt, &q.Options)
	if err != nil {
		return err
	}
	err = s.carryOut(c, q)
	if e := c.Close(); e != nil && err == nil {
		err = e
	}
	if err == nil && !s.done {
		err = errors.New("CRIU ended without having restored anything")
	}
	return err
}

// privateDir is a directory with things that only CRIU sees: the root filesystem, and what else of the host's it gets in
// another form. It asks for a root that is a mount below a directory that nothing covers. Partly it works as the
// container's root, so everybody may pass. To the host the directory is always empty.
const privateDir = "/run/vsrun-criu"

// begin starts CRIU, in a mount namespace of its own: nothing of what is mounted for it is left, whatever happens.
func (s *restoration) begin(opt *criu.Options, o *proto.Options) (c *criu.Session, err error) {
	if err := os.Mkdir(privateDir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err = s.prepareMounts(o); err != nil {
			return
		}
		if s.noNewPrivs {
			if err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				err = os.NewSyscallError("prctl(PR_SET_NO_NEW_PRIVS)", err)
				return
			}
		}
		c, err = criu.Start(opt)
	}()
	<-done
	return c, err
}

// prepareMounts makes a mount namespace for the calling thread, with what CRIU asks for.
func (s *restoration) prepareMounts(o *proto.Options) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("new mount namespace: unshare: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("make all mounts slaves: %w", err)
	}
	root, err := unix.Open(s.plan.Rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("root.path: %w", &os.PathError{Op: "open", Path: s.plan.Rootfs, Err: err})
	}
	err = mountPoints(root, s.plan)
	unix.Close(root)
	if err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", privateDir, "tmpfs", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755"); err != nil {
		return fmt.Errorf("mount tmpfs on %s: %w", privateDir, err)
	}
	o.Root = filepath.Join(privateDir, "root")
	if err := os.Mkdir(o.Root, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(s.plan.Rootfs, o.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("root.path: bind %s: %w", s.plan.Rootfs, err)
	}
	for i := range s.outer {
		if m := &s.outer[i]; m.from != m.source {
			if err := bindMapped(m.source, m.from, m.deep, m.idmap); err != nil {
				return fmt.Errorf("%s: %w", m.at, err)
			}
		}
	}
	if err := bindMapped(s.notifyPath(), filepath.Join(privateDir, notifyDir), false, nil); err != nil {
		return err
	}
	if err := s.dirs.open(); err != nil {
		return err
	}
	if s.plan.Clone.Has(unix.CLONE_NEWUSER) {
		if err := s.shareImages(); err != nil {
			return fmt.Errorf("--image-path: let the container's root read the images: %w", err)
		}
	}
	s.dirs.tell(o)
	return nil
}

// shareImages makes the images belong to the container's root as well as the host's: in a user namespace CRIU reads some
// of them as that.
func (s *restoration) shareImages() error {
	ids := &plan.MountIDMap{UIDs: mapsRoot(s.plan.Clone.UIDs), GIDs: mapsRoot(s.plan.Clone.GIDs)}
	if len(ids.UIDs) == 0 || len(ids.GIDs) == 0 {
		return nil
	}
	if s.dirs.workFD < 0 { // what CRIU writes is root's
		var err error
		if s.dirs.workFD, err = openDirectory(s.dirs.work); err != nil {
			return err
		}
	}
	to := filepath.Join(privateDir, "images")
	if err := bindMapped(s.dirs.images, to, false, ids); err != nil {
		return err
	}
	unix.Close(s.dirs.imagesFD)
	var err error
	s.dirs.imagesFD, err = openDirectory(to)
	return err
}

func (s *restoration) notifyPath() string { return filepath.Join(s.dir.Path(), notifyDir) }

// mapsRoot maps the host's root to a container's.
func mapsRoot(maps []plan.IDMap) []plan.IDMap {
	for _, m := range maps {
		if m.Container == 0 && m.Size > 0 {
			return []plan.IDMap{{Container: 0, Host: m.Host, Size: 1}}
		}
	}
	return nil
}

// bindMapped mounts what is at from on a new file or directory to, with mapped ids unless they are nil.
func bindMapped(from, to string, deep bool, ids *plan.MountIDMap) error {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if deep {
		flags |= unix.AT_RECURSIVE
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, from, flags)
	if err != nil {
		return fmt.Errorf("open_tree %s: %w", from, err)
	}
	defer unix.Close(fd)
	if ids != nil {
		if err := launch.IDMap(fd, ids); err != nil {
			return err
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("fstat %s: %w", from, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		err = os.Mkdir(to, 0o755)
	} else {
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, to, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("move_mount to %s: %w", to, err)
	}
	return nil
}

// noNewPrivileges finds out if CRIU can be left to restore no_new_privs. Version 3.17 forgets it.
func (s *restoration) noNewPrivileges(path string) error {
	if p := s.bundle.Spec.Process; p == nil || !p.NoNewPrivileges {
		return nil
	}
	c, err := criu.Start(&criu.Options{Path: path, Stdio: [3]int{-1, -1, -1}})
	if err != nil {
		return err
	}
	version, err := criuVersion(c)
	_ = c.Close()
	s.noNewPrivs = version < criuNoNewPrivs
	return err
}

// carryOut has CRIU restore.
func (s *restoration) carryOut(c *criu.Session, q *proto.Request) error {
	if s.cg.NeedsPid() {
		if err := s.cg.ApplyPid(c.PID); err != nil {
			return err
		}
	} else if err := s.cg.AddPid(c.PID); err != nil {
		return err
	}
	version, err := criuVersion(c)
	if err != nil {
		return err
	}
	if s.o.LSMProfile != "" || s.o.LSMMountContext != "" {
		if err := needCriu(version, criuLSM, "--lsm-profile and --lsm-mount-context"); err != nil {
			return err
		}
	}
	if l := s.bundle.Spec.Linux; l != nil {
		for _, ns := range l.Namespaces {
			if ns.Type == specs.PIDNamespace && ns.Path != "" {
				if err := needCriu(version, criuPidNS, "a container in another's pid namespace"); err != nil {
					return err
				}
			}
		}
	}
	if q.Options.CgroupRoot, err = cgroupRoots(c.PID); err != nil {
		return err
	}
	if _, err := c.Do(q, s.notified); err != nil {
		return explainCriu(err, s.dirs.logFile, s.notes.text())
	}
	return nil
}

// cgroupRoots are the cgroups that a process is in, by controller: what is restored is put below them.
func cgroupRoots(pid int) ([]proto.Pair, error) {
	b, err := os.ReadFile("/proc/" + itoa(pid) + "/cgroup")
	if err != nil {
		return nil, err
	}
	var list []proto.Pair
	for line := range strings.Lines(string(b)) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3) // cgroups(7)
		if len(f) < 3 {
			continue
		}
		for ctl := range strings.SplitSeq(f[1], ",") {
			list = append(list, proto.Pair{Key: ctl, Val: f[2]})
		}
	}
	return list, nil
}

// describe tells CRIU of everything that is not in the images, and returns descriptors for it, also with an error.
func (s *restoration) describe(o *proto.Options) (extra []int, err error) {
	o.EvasiveDevices, o.RstSibling = true, true
	o.TCPClose, o.LSMProfile, o.LSMMountContext = s.o.TCPClose, s.o.LSMProfile, s.o.LSMMountContext
	o.ConfigFile = criuConfig(s.rec)
	s.outer = outerMounts(s.plan, privateDir)
	root, err := unix.Open(s.plan.Rootfs, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("root.path: %w", &os.PathError{Op: "open", Path: s.plan.Rootfs, Err: err})
	}
	defer unix.Close(root)
	if o.ExtMnt, err = restoreMounts(s.outer, root); err != nil {
		return nil, err
	}
	// The directory of the sd_notify proxy may have been mounted, though there is none any more.
	if err := s.makeNotifyDir(); err != nil {
		return nil, err
	}
	o.ExtMnt = append(o.ExtMnt, proto.Pair{Key: "/run/" + notifyDir, Val: filepath.Join(privateDir, notifyDir)})
	if o.InheritFD, err = inherited(s.dirs.images); err != nil {
		return nil, err
	}
	return s.namespaces(o)
}

// namespaces tells CRIU which namespaces to join instead of making them.
func (s *restoration) namespaces(o *proto.Options) (extra []int, err error) {
	for _, n := range s.plan.Clone.Join {
		switch key, _ := externalNamespace(specs.LinuxNamespaceType(n.Name)); {
		case key != "":
			fd, err := unix.Open(n.Path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
			if err != nil {
				return extra, fmt.Errorf("%s.path: %w", n.At(), &os.PathError{Op: "open", Path: n.Path, Err: err})
			}
			if n.Flag == unix.CLONE_NEWNET {
				s.netns = fd
			}
			o.InheritFD = append(o.InheritFD, proto.InheritFD{Key: key, FD: criu.FirstExtra + len(extra)})
			extra = append(extra, fd)
		case n.Flag == unix.CLONE_NEWCGROUP:
			return extra, fmt.Errorf("%s: CRIU can't restore a container into a cgroup namespace that exists", n.At())
		default:
			o.JoinNS = append(o.JoinNS, proto.Pair{Key: criuNamespace(n), Val: n.Path})
		}
	}
	return extra, nil
}

// criuNamespace is CRIU's word for a kind of namespace: the kernel's.
func criuNamespace(n plan.Namespace) string {
	if n.Flag == unix.CLONE_NEWNS {
		return "mnt"
	}
	return n.Name
}

// notified does what is the runtime's part in a restore.
func (s *restoration) notified(n *criu.Notification) error {
	log.Debugf("CRIU: %s", n.Script)
	switch n.Script {
	case "setup-namespaces":
		return s.environment(n.PID)
	case "orphan-pts-master":
		return s.console(n.FD)
	case "network-unlock":
		if s.netns > 0 {
			unlockAgain(s.netns)
		}
	case "post-restore":
		return s.restored(n.PID)
	}
	return nil
}

// adopt takes note of the first process.
func (s *restoration) adopt(pid int) error {
	if s.process != nil {
		if s.process.PID == pid {
			return nil
		}
		unix.Close(s.process.PIDFD)
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open of the restored process", err)
	}
	s.process = launch.Running(pid, fd)
	return s.noteProcess()
}

// environment finishes the namespaces that CRIU has just made: images have no network, and hooks may want to make one.
func (s *restoration) environment(pid int) error {
	if err := s.adopt(pid); err != nil {
		return err
	}
	if s.plan.Clone.Has(unix.CLONE_NEWNET) {
		if err := setLoopback(s.process.PIDFD); err != nil {
			return fmt.Errorf("set the loopback device up: %w", err)
		}
	}
	if err := s.moveNetDevices(); err != nil {
		return err
	}
	h := s.bundle.Spec.Hooks
	if h == nil {
		return nil
	}
	if err := s.save(); err != nil {
		return err
	}
	st := s.specState(specs.StateCreated, pid)
	//lint:ignore SA1019 deprecated in the specification, and used
	if err := hooks.Run("prestart", h.Prestart, st, hooks.InRuntime); err != nil {
		return err
	}
	return hooks.Run("createRuntime", h.CreateRuntime, st, hooks.InRuntime)
}

// setLoopback sets lo up in the network namespace of a process.
func setLoopback(pidfd int) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		done <- func() error {
			if err := unix.Setns(pidfd, unix.CLONE_NEWNET); err != nil {
				return os.NewSyscallError("setns", err)
			}
			sock, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // any family takes the call
			if err != nil {
				return os.NewSyscallError("socket", err)
			}
			defer unix.Close(sock)
			lo, err := unix.NewIfreq("lo")
			if err != nil {
				return err
			}
			lo.SetUint16(unix.IFF_UP)
			return os.NewSyscallError("ioctl(SIOCSIFFLAGS)", unix.IoctlIfreq(sock, unix.SIOCSIFFLAGS, lo))
		}()
	}()
	return <-done
}

// console takes the master of the container's terminal.
func (s *restoration) console(fd int) error {
	if fd < 0 {
		return errors.New("CRIU sent no descriptor for the container's terminal")
	}
	if s.creation.o.ConsoleSocket == "" {
		if s.o.Detach || s.master >= 0 {
			return nil
		}
		var err error
		s.master, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewSyscallError("fcntl(F_DUPFD)", err)
	}
	sock, err := console.ConnectSocket(s.creation.o.ConsoleSocket)
	if err != nil {
		return err
	}
	defer unix.Close(sock)
	if err := console.SendFD(sock, "orphan-pts-master", fd); err != nil {
		return fmt.Errorf("send the terminal to socket %s: %w", s.creation.o.ConsoleSocket, err)
	}
	return nil
}

// restored records the container, whose processes are there and about to go on.
func (s *restoration) restored(pid int) error {
	if err := s.adopt(pid); err != nil {
		return err
	}
	if err := reattribute(s.outer, s.process.PIDFD); err != nil {
		return err
	}
	// Since 3.14 CRIU restores into a time namespace, so that clocks go on from where they stood.
	if newTimeNamespace(pid) {
		s.hooks.NS |= unix.CLONE_NEWTIME
	}
	if s.rdt != nil {
		if err := s.rdt.add(pid); err != nil {
			return err
		}
	}
	s.rec.Created = time.Now().UTC()
	if err := s.created(); err != nil {
		return err
	}
	s.done = true
	return nil
}

func newTimeNamespace(pid int) bool {
	own, err := os.Readlink("/proc/self/ns/time")
	if err != nil {
		return false
	}
	its, err := os.Readlink("/proc/" + itoa(pid) + "/ns/time")
	return err == nil && its != own
}
