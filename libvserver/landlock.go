package libvserver

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/plan"
	"github.com/vsrun/vsrun/spec"
)

// maxRuleset is the most that a ruleset file may hold, in bytes: it goes into the container's record.
const maxRuleset = 64 << 10

// errNoLandlockImage is the answer of checkpoint and restore.
var errNoLandlockImage = errors.New("a container with Landlock can't be checkpointed or restored: CRIU knows nothing of Landlock, and what it restores would be unconfined")

// landlockFacts finds what a bundle that asks for Landlock needs: nil if it does not. recorded is the ruleset file as it was
// read when the container was created; without it the file is read.
func landlockFacts(b *spec.Bundle, recorded string) (f *plan.LandlockFacts, raw string, err error) {
	l := b.VServer.Landlock
	if !l.On {
		return nil, "", nil
	}
	f = &plan.LandlockFacts{}
	if err := host.Landlock.Err(); err != nil {
		f.Missing = err.Error()
	} else if f.ABI, err = host.LandlockABI(); err != nil {
		return nil, "", os.NewSyscallError("landlock_create_ruleset", err)
	}
	if l.File == "" {
		return f, "", nil
	}
	name := b.Abs(l.File)
	if recorded == "" {
		if recorded, err = readRuleset(name); err != nil {
			return nil, "", &spec.FileError{File: "Landlock ruleset " + name, Err: err}
		}
	}
	if f.Ruleset, err = spec.ParseLandlock([]byte(recorded)); err != nil {
		return nil, "", &spec.FileError{File: "Landlock ruleset " + name, Err: err}
	}
	return f, recorded, nil
}

func readRuleset(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", os.NewSyscallError("open", err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	st, err := f.Stat()
	switch {
	case err != nil:
		return "", err
	case !st.Mode().IsRegular():
		return "", errors.New("not a regular file")
	case st.Size() > maxRuleset:
		return "", errors.New("larger than 64 KiB")
	}
	buf := make([]byte, st.Size())
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		return "", os.NewSyscallError("read", err)
	}
	return string(buf[:n]), nil
}
