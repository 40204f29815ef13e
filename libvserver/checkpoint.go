package libvserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/libvserver/criu"
	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/fault"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/libvserver/state"
	"github.com/vsrun/vsrun/spec"
)

// CheckpointOptions are the flags of checkpoint.
type CheckpointOptions struct {
	CriuOptions
	ID string
	// ParentPath is the directory of an earlier pre-dump, relative to ImagePath.
	ParentPath                               string
	LeaveRunning, TCPSkipInFlight, LinkRemap bool
	// PreDump saves memory alone, for a later checkpoint that saves what has changed since.
	PreDump bool
	// StatusFD gets a byte as soon as pages can be fetched (LazyPages); -1 for none.
	StatusFD int
	// PageServer is ADDRESS:PORT of who takes the pages.
	PageServer string
	// Progress, if set, is told now and then how far it is.
	Progress func(Dumped)
}

// Dumped is how far a checkpoint is.
type Dumped struct {
	Pages, Total uint64 // of the machine's page size; Total is an estimate until Done
	Elapsed      time.Duration
	Done         bool
	// Frozen is how long the container stood still, Skipped how many pages the parent has; both are known when Done.
	Frozen  time.Duration
	Skipped uint64
}

// checkpoint is one in the making.
type checkpoint struct {
	container
	o      *CheckpointOptions
	bundle *spec.Bundle
	dirs   *criuDirs
	notes  *notes
}

// Checkpoint saves a running container's processes as images. Unless LeaveRunning or PreDump says otherwise it ends and
// removes the container, as runc does.
func (r *Runtime) Checkpoint(o *CheckpointOptions) error {
	path, err := findCriu()
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	c, err := r.open(o.ID)
	if err != nil {
		return err
	}
	defer c.dir.Unlock()
	switch status, _ := r.status(c.rec); status {
	case specs.StateRunning, state.Paused:
	default:
		//lint:ignore ST1005 runc's words
		return fmt.Errorf("Container cannot be checkpointed in %s state", status)
	}
	if os.Geteuid() != 0 || host.InUserNamespace() {
		log.Warnf("vsrun checkpoint is untested with rootless containers")
	}
	defer keepCgroupFlags()()
	p := &checkpoint{container: *c, o: o}
	if p.bundle, err = recordedSpec(c.rec); err != nil {
		return err
	}
	if p.bundle.VServer.Landlock.On {
		return errNoLandlockImage
	}
	if loadLaunched(c.rec).Upper.Private != "" {
		return errNoUnifiedImage
	}
	name := "dump.log"
	if p.dirs, err = o.openDirs(name, true); err != nil {
		return err
	}
	defer p.dirs.close()
	if err := p.parent(); err != nil {
		return err
	}
	if err := p.dump(path); err != nil {
		return fmt.Errorf("checkpoint of container %s: %w", o.ID, err)
	}
	_ = fault.On && fault.At(fault.Dumped)
	if o.LeaveRunning || o.PreDump {
		return nil
	}
	// The images are good, whatever happens now.
	if err := p.remove(); err != nil {
		log.Warnf("remove container %s after its checkpoint: %v", o.ID, err)
	}
	return nil
}

// check rejects values that make no sense.
func (o *CheckpointOptions) check() error {
	if err := o.CriuOptions.check(); err != nil {
		return err
	}
	if o.PageServer != "" {
		if _, _, ok := splitHostPort(o.PageServer); !ok {
			return errors.New("use --page-server ADDRESS:PORT to specify page server")
		}
	}
	if o.StatusFD >= 0 {
		flags, err := unix.FcntlInt(uintptr(o.StatusFD), unix.F_GETFL, 0)
		if err != nil {
			return fmt.Errorf("invalid --status-fd argument %d: %w", o.StatusFD, err)
		}
		if flags&unix.O_ACCMODE == unix.O_RDONLY {
			return fmt.Errorf("invalid --status-fd argument %d: not writable", o.StatusFD)
		}
	}
	return nil
}

// parent checks the directory of an earlier pre-dump.
func (p *checkpoint) parent() error {
	if p.o.ParentPath == "" {
		return nil
	}
	if filepath.IsAbs(p.o.ParentPath) {
		return errors.New("--parent-path must be relative")
	}
	dir := filepath.Join(p.dirs.images, p.o.ParentPath)
	st, err := os.Stat(dir)
	if err == nil && !st.IsDir() {
		err = &os.PathError{Op: "stat", Path: dir, Err: unix.ENOTDIR}
	}
	if err != nil {
		return fmt.Errorf("invalid --parent-path: %w", err)
	}
	return nil
}

func (p *checkpoint) dump(path string) (err error) {
	mounts, err := host.Mounts(itoa(p.rec.InitPid))
	if err != nil {
		return err
	}
	q := &proto.Request{Kind: proto.Dump, Options: p.o.options(), StatsDir: p.dirs.work}
	if p.o.PreDump {
		q.Kind = proto.PreDump
	} else if err := p.describe(&q.Options, mounts); err != nil {
		return err
	}
	if p.notes, err = newNotes(); err != nil {
		return err
	}
	defer p.notes.close()
	p.dirs.fresh()
	s, err := criu.Start(&criu.Options{Path: path, Stdio: [3]int{-1, -1, p.notes.fd}, OwnGroup: true})
	if err != nil {
		return err
	}
	defer func() {
		// After a pre-dump CRIU waits for a dump to follow; it takes the end of the session for a failure.
		if e := s.Close(); e != nil && err == nil && !p.o.PreDump {
			err = e
		}
	}()
	_ = fault.On && fault.At(fault.CriuStarted)
	version, err := criuVersion(s)
	if err != nil {
		return err
	}
	if err := p.fill(s, &q.Options, version); err != nil {
		return err
	}
	stop := p.watch()
	e, err := s.Do(q, p.notified)
	if err != nil {
		stop(nil)
		return explainCriu(err, p.dirs.logFile, p.notes.text())
	}
	stop(&e.Stats)
	return nil
}

// fill adds the options that depend on CRIU's version and features.
func (p *checkpoint) fill(s *criu.Session, o *proto.Options, version int) error {
	p.dirs.tell(o)
	o.PID, o.Root, o.ConfigFile = p.rec.InitPid, p.rec.Rootfs, criuConfig(p.rec)
	o.LeaveRunning, o.TCPSkipInFlight, o.LinkRemap = p.o.LeaveRunning, p.o.TCPSkipInFlight, p.o.LinkRemap
	if p.o.PageServer != "" {
		o.PageServer, o.PageServerPort, _ = splitHostPort(p.o.PageServer)
	}
	if p.o.ParentPath != "" {
		o.ParentImg, o.TrackMem = p.o.ParentPath, true
	}
	var features []string
	if p.o.PreDump || p.o.ParentPath != "" {
		features = append(features, proto.FeatureMemTrack)
	}
	if p.o.LazyPages {
		features = append(features, proto.FeatureLazyPages)
	}
	if len(features) > 0 {
		missing, err := s.Missing(features...)
		if err != nil {
			return fmt.Errorf("ask CRIU for its features: %w", err)
		}
		if len(missing) > 0 {
			return lacking(missing)
		}
	}
	if p.o.StatusFD >= 0 && version < criuPidNS {
		o.StatusFD = p.o.StatusFD
	}
	m, err := p.cgroup()
	if err != nil {
		return err
	}
	if m != nil && (m.Layout() != host.CgroupV2 || version >= criuFreezeV2) {
		o.FreezeCgroup = m.Path("freezer")
	}
	return p.namespaces(o, version)
}

// lacking says what a missing feature is needed for.
func lacking(missing []string) error {
	var why []string
	for _, f := range missing {
		switch f {
		case proto.FeatureMemTrack:
			why = append(why, "mem_track (a pre-dump, or a checkpoint on top of one, needs a kernel with CONFIG_MEM_SOFT_DIRTY)")
		case proto.FeatureLazyPages:
			why = append(why, "lazy_pages (--lazy-pages needs a kernel with CONFIG_USERFAULTFD)")
		}
	}
	return errors.New("criu is missing features: " + strings.Join(why, ", "))
}

// namespaces tells CRIU which namespaces are not the container's own, so that they are not saved.
func (p *checkpoint) namespaces(o *proto.Options, version int) error {
	l := p.bundle.Spec.Linux
	if l == nil {
		return nil
	}
	for _, ns := range l.Namespaces {
		if ns.Path == "" {
			continue
		}
		key, kind := externalNamespace(ns.Type)
		if key == "" {
			continue
		}
		if ns.Type == specs.PIDNamespace {
			if err := needCriu(version, criuPidNS, "a container in another's pid namespace"); err != nil {
				return err
			}
		}
		var st unix.Stat_t
		if err := unix.Stat("/proc/"+itoa(p.rec.InitPid)+"/ns/"+kind, &st); err != nil {
			return fmt.Errorf("%s namespace: %w", kind, err)
		}
		o.External = append(o.External, fmt.Sprintf("%s[%d]:%s", kind, st.Ino, key))
	}
	return nil
}

// externalNamespace is the name under which images know a namespace that is not theirs to make, and the kernel's word
// for its kind. Others are joined by path at restore.
func externalNamespace(t specs.LinuxNamespaceType) (key, kind string) {
	switch t {
	case specs.NetworkNamespace:
		return "extRootNetNS", "net"
	case specs.PIDNamespace:
		return "extRootPidNS", "pid"
	}
	return "", ""
}

// describe tells CRIU of the container's mounts and streams.
func (p *checkpoint) describe(o *proto.Options, mounts []host.Mount) error {
	m, err := p.cgroup()
	if err != nil {
		return err
	}
	f := facts(p.bundle, m)
	f.Stat = func(string) (uint32, error) { return 0, nil } // sources that are gone from the host are still mounted
	opt := plan.Options{ID: p.rec.ID, NoPivot: p.rec.NoPivot, NoCgroup: m == nil || m.Driver() == cgroup.DriverNone}
	pl, err := plan.Build(p.bundle, f, &opt)
	if err != nil {
		return err
	}
	if pl.CallerMounts {
		return errors.New("a container without a mount namespace of its own can't be restored")
	}
	outer := outerMounts(pl, "")
	root, err := unix.Open("/proc/"+itoa(p.rec.InitPid)+"/root", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open the container's root directory: %w", err)
	}
	defer unix.Close(root)
	saved := outer[:0]
	for _, m := range outer {
		// What lies in the root filesystem is saved as the second mount of it that it is.
		if m.mask || !strings.HasPrefix(m.source, pl.Rootfs+"/") {
			saved = append(saved, m)
		}
	}
	o.ExtMnt = dumpMounts(saved, root, mounts)
	if isMountPoint(mounts, "/run/"+notifyDir) {
		o.ExtMnt = append(o.ExtMnt, proto.Pair{Key: "/run/" + notifyDir, Val: "/run/" + notifyDir})
	}
	s := p.outside(mounts)
	o.External = append(o.External, s.external...)
	return s.write(p.dirs.images)
}

// notified is told what CRIU is about.
func (p *checkpoint) notified(n *criu.Notification) error {
	log.Debugf("CRIU: %s", n.Script)
	if n.Script == "status-ready" && p.o.StatusFD >= 0 {
		if _, err := unix.Write(p.o.StatusFD, []byte{0}); err != nil {
			log.Warnf("--status-fd: %v", err)
		}
		unix.Close(p.o.StatusFD)
	}
	if n.Script == "post-dump" { // before the processes are killed or go on
		return p.saveSockets()
	}
	return nil
}

// remove ends what CRIU has left, and removes the container.
func (p *checkpoint) remove() error {
	if err := p.kill(); err != nil {
		return err
	}
	if err := p.destroy(); err != nil {
		return err
	}
	if loadLaunched(p.rec).PostStop {
		p.runPoststop(p.bundle.Spec)
	}
	return nil
}

// notes collects what CRIU writes to its standard error.
type notes struct{ fd int }

func newNotes() (*notes, error) {
	fd, err := unix.MemfdCreate("criu-stderr", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	return &notes{fd}, nil
}

func (n *notes) close() { unix.Close(n.fd) }

func (n *notes) text() string {
	if n == nil {
		return ""
	}
	buf := make([]byte, 16<<10)
	k, err := unix.Pread(n.fd, buf, 0)
	if err != nil || k <= 0 {
		return ""
	}
	return strings.TrimSpace(string(buf[:k]))
}
