package libvserver

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu"
	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/state"
)

// What checkpoint and restore have in common. What CRIU is told, and under which names images know things, is as in runc:
// images of either can be restored by the other.

// CriuOptions are the flags that checkpoint and restore share.
type CriuOptions struct {
	// ImagePath is the directory of the images, "checkpoint" in the working directory if it is empty; WorkPath that of
	// CRIU's log and other files, the images' if it is empty.
	ImagePath, WorkPath                                                  string
	TCPEstablished, ExtUnixSk, ShellJob, FileLocks, AutoDedup, LazyPages bool
	ManageCgroupsMode                                                    string // soft, full, strict, ignore
	NetworkLock                                                          string // iptables, nftables, skip
	EmptyNS                                                              []string
}

// Versions of CRIU, as its version is told.
const (
	criuOldest   = 31100 // network namespaces of others, configuration files
	criuFreezeV2 = 31400
	criuPidNS    = 31500 // pid namespaces of others, the notification status-ready
	criuLSM      = 31600
	// It may be an earlier one that restores no_new_privs; 3.17 does not.
	criuNoNewPrivs = 40000
)

// check rejects values that CRIU would not understand.
func (o *CriuOptions) check() error {
	switch o.ManageCgroupsMode {
	case "", "soft", "full", "strict", "ignore":
	default:
		return fmt.Errorf("invalid manage-cgroups-mode value %q: soft, full, strict or ignore", o.ManageCgroupsMode)
	}
	switch o.NetworkLock {
	case "", "iptables", "nftables", "skip":
	default:
		return fmt.Errorf("invalid network-lock value %q: iptables, nftables or skip", o.NetworkLock)
	}
	for _, ns := range o.EmptyNS {
		if ns != "network" {
			return fmt.Errorf("namespace %q is not supported", ns)
		}
	}
	return nil
}

// options are those that need nothing but the flags.
func (o *CriuOptions) options() proto.Options {
	return proto.Options{
		WorkDirFD: -1, StatusFD: -1, LogLevel: 4, CgroupsMode: o.ManageCgroupsMode, NetworkLock: o.NetworkLock,
		// The network is the caller's: its devices are neither saved nor made again.
		EmptyNS:        unix.CLONE_NEWNET,
		TCPEstablished: o.TCPEstablished, ExtUnixSk: o.ExtUnixSk, ShellJob: o.ShellJob, FileLocks: o.FileLocks,
		AutoDedup: o.AutoDedup, LazyPages: o.LazyPages, OrphanPtsMaster: true,
	}
}

// criuDirs are the directories of a checkpoint, open.
type criuDirs struct {
	images, work string // absolute
	imagesFD     int
	workFD       int // -1: the images'
	logFile      string
}

// openDirs opens the directories, and makes those that make says and the work directory.
func (o *CriuOptions) openDirs(logName string, makeImages bool) (_ *criuDirs, err error) {
	d := &criuDirs{imagesFD: -1, workFD: -1}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.images, err = filepath.Abs(o.imagePath()); err != nil {
		return nil, fmt.Errorf("--image-path: %w", err)
	}
	if makeImages {
		if err := os.MkdirAll(d.images, 0o700); err != nil {
			return nil, fmt.Errorf("--image-path: %w", err)
		}
	}
	d.work = d.images
	if o.WorkPath != "" {
		if d.work, err = filepath.Abs(o.WorkPath); err != nil {
			return nil, fmt.Errorf("--work-path: %w", err)
		}
		if err := os.MkdirAll(d.work, 0o700); err != nil {
			return nil, fmt.Errorf("--work-path: %w", err)
		}
	}
	d.logFile = filepath.Join(d.work, logName)
	return d, d.open()
}

// open opens the directories, again if they are open. A descriptor belongs to a mount of the mount namespace that it was
// opened in, and CRIU mounts things below the directories.
func (d *criuDirs) open() (err error) {
	d.close()
	if d.imagesFD, err = openDirectory(d.images); err != nil {
		return fmt.Errorf("--image-path: %w", err)
	}
	if d.work != d.images {
		if d.workFD, err = openDirectory(d.work); err != nil {
			return fmt.Errorf("--work-path: %w", err)
		}
	}
	return nil
}

func (o *CriuOptions) imagePath() string {
	if o.ImagePath == "" {
		return "checkpoint"
	}
	return o.ImagePath
}

func (d *criuDirs) close() {
	for _, fd := range []*int{&d.imagesFD, &d.workFD} {
		if *fd >= 0 {
			unix.Close(*fd)
			*fd = -1
		}
	}
}

// tell puts the directories into CRIU's options.
func (d *criuDirs) tell(o *proto.Options) {
	o.ImagesDirFD, o.WorkDirFD, o.LogFile = d.imagesFD, d.workFD, filepath.Base(d.logFile)
}

func openDirectory(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return fd, nil
}

// findCriu finds the executable.
func findCriu() (string, error) {
	path, err := lookPath("criu")
	if err != nil {
		return "", fmt.Errorf("%w: checkpoint and restore need CRIU (https://criu.org, Debian's package criu)", err)
	}
	return path, nil
}

// criuConfig names a configuration file for CRIU: that of the annotation org.criu.config, where an empty one means none,
// else the runtime's; runc's is taken if there is none of vsrun's own.
func criuConfig(rec *state.Record) string {
	if file, ok := rec.Annotations["org.criu.config"]; ok {
		return file
	}
	const own = "/etc/criu/vsrun.conf"
	if unix.Access(own, unix.F_OK) == nil {
		return own
	}
	return "/etc/criu/runc.conf"
}

// criuVersion asks for CRIU's version, and refuses one that is too old for all of this.
func criuVersion(s *criu.Session) (int, error) {
	v, err := s.Version()
	if err != nil {
		return 0, fmt.Errorf("ask CRIU for its version: %w", err)
	}
	log.Debugf("CRIU %s", versionText(v))
	return v, needCriu(v, criuOldest, "checkpoint and restore")
}

func needCriu(have, want int, what string) error {
	if have < want {
		return fmt.Errorf("%s: CRIU %s is installed, %s or newer is needed", what, versionText(have), versionText(want))
	}
	return nil
}

func versionText(v int) string { return fmt.Sprintf("%d.%d.%d", v/10000, v/100%100, v%100) }

// quoted is how many lines of CRIU's log are shown when it fails.
const quoted = 10

// explainCriu adds to CRIU's refusal what its log says. Its last lines go to the log; the error has the first cause.
func explainCriu(err error, logFile, stderr string) error {
	var f *criu.Failure
	if !errors.As(err, &f) {
		return err
	}
	q := criu.ReadLog(logFile, quoted)
	lines := q.Lines
	if len(lines) == 0 && stderr != "" {
		lines = strings.Split(stderr, "\n") // it did not get as far as a log
		lines = lines[max(0, len(lines)-quoted):]
	}
	if len(lines) > 0 {
		log.Warnf("--- CRIU's last errors and warnings, from %s", logFile)
		for _, l := range lines {
			log.Warnf("%s", l)
		}
		log.Warnf("---")
	}
	// CRIU's own message is its first error, which may be one that it has gone on after.
	switch {
	case q.Cause != "":
		f.Message = q.Cause
	case f.Message == "" && len(lines) > 0:
		f.Message = lines[len(lines)-1]
	}
	if flag := criuHint(f.Message); flag != "" {
		f.Message += " (" + flag + " allows it)"
	}
	return fmt.Errorf("%w (log file: %s)", err, logFile)
}

// criuHint is the flag of ours that CRIU asks for, where it does not name it, or by another name.
func criuHint(message string) string {
	for _, h := range [...][2]string{
		{"link-remap option", "--link-remap"},
		{"skip-in-flight", "--tcp-skip-in-flight"},
		{"dangling tty", "--shell-job"},
		{"is not session leader", "--shell-job"},
	} {
		if strings.Contains(message, h[0]) && !strings.Contains(message, h[1]) {
			return h[1]
		}
	}
	return ""
}

// fresh removes a log of an earlier try: CRIU may fail before it writes its own.
func (d *criuDirs) fresh() { _ = os.Remove(d.logFile) }

// splitHostPort takes ADDRESS:PORT apart, with brackets around an IPv6 address.
func splitHostPort(s string) (host string, port int, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i <= 0 {
		return "", 0, false
	}
	host = s[:i]
	if host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	} else if strings.Contains(host, ":") {
		return "", 0, false
	}
	n := 0
	for _, c := range s[i+1:] {
		if c < '0' || c > '9' || n > 65535 {
			return "", 0, false
		}
		n = n*10 + int(c-'0')
	}
	return host, n, host != "" && n > 0 && n <= 65535
}
