// Package host knows what the machine can do: which kernel features it has, how
// its cgroups are laid out, what this process may do.
//
// A [Feature] is probed when first asked for and remembered; nothing runs when
// the program starts. Errors, `vsrun features`, `vsrun doctor`, the planner and
// the skips of tests all ask here, so that a feature's name and least kernel are
// written down once.
//
// The probes of features change nothing: they are calls that a kernel without
// the feature refuses differently from one with it. What can only be tried
// (with a throwaway file, child or mount) is a function whose name begins with
// Try; only doctor calls those.
//
// The package must not import anything of this project but spec/wire, and must
// not depend on a container or a bundle.
package host

import (
	"errors"
	"sync"

	"golang.org/x/sys/unix"
)

// Feature is something a kernel has or has not.
type Feature struct {
	// Name stands in front of "not supported by this kernel".
	Name string
	// Plural says that Name takes "are".
	Plural bool
	// Since is the first kernel that has the feature, as "5.12".
	Since string
	// Config is the kernel option that the feature can be left out by, if any.
	Config string

	// probe returns nil if the feature is there, errMissing or one of the
	// errnos that stand for it if not, and another error if it can't be told.
	probe func() error
	once  sync.Once
	err   error
}

// errMissing is a probe's plain "no".
var errMissing = errors.New("missing")

// Unsupported is the error of a feature that is not there. It is
// errors.ErrUnsupported too.
type Unsupported struct {
	Feature *Feature
	Release string // this kernel's release, "5.10.0-30-amd64"
}

// Error says what is missing, which kernel has it and which this is.
func (e *Unsupported) Error() string {
	return e.Feature.subject() + " not supported by this kernel (" + e.Hint() + ")"
}

// Hint is the part of the error that says what would help: "needs Linux 5.12;
// this is 5.10.0", or, if the kernel is new enough, what else can be wrong.
func (e *Unsupported) Hint() string {
	f := e.Feature
	this := ParseVersion(e.Release)
	switch {
	case this.Less(ParseVersion(f.Since)):
		return "needs Linux " + f.Since + "; this is " + this.String()
	case f.Config != "":
		return "needs " + f.Config + ", which Linux " + this.String() + " here lacks or has switched off"
	default:
		return "Linux has it since " + f.Since + "; this is " + this.String() + ", where it is missing or forbidden"
	}
}

// Is makes errors.Is(err, errors.ErrUnsupported) true.
func (e *Unsupported) Is(target error) bool { return target == errors.ErrUnsupported }

func (f *Feature) subject() string {
	if f.Plural {
		return f.Name + " are"
	}
	return f.Name + " is"
}

// Err returns nil if this kernel has the feature, an *Unsupported if it has
// not, and another error if the probe could not tell.
func (f *Feature) Err() error {
	f.once.Do(func() { f.err = f.verdict(f.probe()) })
	return f.err
}

// Supported reports whether this kernel has the feature for certain.
func (f *Feature) Supported() bool { return f.Err() == nil }

// Hint returns what would make the feature available, or "" if it is there: the
// tail of an error message.
func (f *Feature) Hint() string {
	var u *Unsupported
	if errors.As(f.Err(), &u) {
		return u.Hint()
	}
	return ""
}

func (f *Feature) verdict(err error) error {
	switch {
	case err == nil:
		return nil
	case err == errMissing, errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EOPNOTSUPP):
		return &Unsupported{Feature: f, Release: KernelRelease()}
	default:
		return &probeError{name: f.Name, err: err}
	}
}

// probeError is the error of a probe that could not tell.
type probeError struct {
	name string
	err  error
}

func (e *probeError) Error() string {
	return "cannot tell if the kernel has " + e.name + ": " + e.err.Error()
}
func (e *probeError) Unwrap() error { return e.err }
