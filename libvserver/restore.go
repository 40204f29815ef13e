package libvserver

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu"
	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/log"
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

// errNoUnifiedImage is for checkpoint as well: it would take the container and leave images that nothing can be made of.
var errNoUnifiedImage = errors.New("a container on a unified tree can't be checkpointed and restored: " +
	"the images would have its processes, but not its layer with what they have written (\"vsrun ununify\" makes the tree a plain one)")

// Restore makes a container of the images that Checkpoint has left. Otherwise it is Run.
func (r *Runtime) Restore(o *RestoreOptions) (status int, err error) {
	path, err := findCriu()
	if err != nil {
		return 1, err
	}
	if err := o.CriuOptions.check(); err != nil {
		return 1, err
	}
	n, err := r.newCreation(&o.CreateOptions, false, nil)
	if err != nil {
		return 1, err
	}
	defer n.close()
	if err := n.build(); err != nil {
		return 1, err
	}
	n.remember()
	if err := n.network(); err != nil {
		return 1, err
	}
	// They ran when the container was started first, and CRIU restores what came of it.
	n.hooks.StartHooks, n.hooks.PostStart = false, false
	n.hooks.Restored = true
	if n.plan.Overlay != nil {
		return 1, errNoUnifiedImage
	}
	if n.plan.CallerMounts {
		return 1, errors.New("a container without a mount namespace of its own can't be restored")
	}
	if n.bundle.VServer.Landlock.On {
		return 1, errNoLandlockImage
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
	if err := s.noteTracer(); err != nil {
		return err
	}
	if err := s.takeXid(); err != nil {
		return err
	}
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
	if !s.cg.NeedsPid() {
		if err := s.attachNetwork(); err != nil {
			return err
		}
	}
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
	if s.netns > 0 {
		takeOverLock(s.netns)
	}
	if err := s.noNewPrivileges(path); err != nil {
		return err
	}
	defer keepCgroupFlags()()
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
		if err := s.attachNetwork(); err != nil {
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
