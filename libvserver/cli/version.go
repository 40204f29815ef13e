package cli

import (
	"runtime"
	"runtime/debug"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Build is what the linker was told of this program. What is empty is taken from
// what the compiler noted, as far as that goes.
type Build struct {
	Version, Commit string
	Libseccomp      string // the version of the library in the helper
}

func (b *Build) version() string {
	if b.Version != "" {
		return b.Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

func (b *Build) commit() string {
	if b.Commit != "" {
		return b.Commit
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}

// appendVersion appends what --version prints. Docker takes the version from the
// line that has the word in it, and the commit from its own.
func (b *Build) appendVersion(dst []byte) []byte {
	dst = append(append(dst, "vsrun version "...), b.version()...)
	return b.appendFacts(append(dst, '\n'))
}

func (b *Build) appendFacts(dst []byte) []byte {
	dst = append(append(dst, "commit: "...), b.commit()...)
	dst = append(append(dst, "\nspec: "...), specs.Version...)
	dst = append(append(dst, "\ngo: "...), runtime.Version()...)
	dst = append(dst, '\n')
	if b.Libseccomp != "" {
		dst = append(append(append(dst, "libseccomp: "...), b.Libseccomp...), '\n')
	}
	return dst
}
