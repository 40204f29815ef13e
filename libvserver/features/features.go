// Package features says what this runtime can do, in the document that
// runtime-spec defines (features.md) and engines read before they configure a
// container.
//
// Each list comes from the package that does the work, so that it can't promise
// more. The package looks at the host only where the document asks for it (the
// seccomp flags that the kernel takes); doctor is about hosts. It is for the
// command features alone.
package features

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"github.com/vsrun/vsrun/libvserver/seccomp"
	"github.com/vsrun/vsrun/spec"
	encoder "github.com/vsrun/vsrun/spec/features"
	"github.com/vsrun/vsrun/spec/mountopt"
	"github.com/vsrun/vsrun/spec/wire"
)

// Annotations of the document. The first two are named as runc's are; annotationCheckpoint is runc's own, which other
// runtimes may use, too (types/features of runc).
const (
	annotationCheckpoint = "org.opencontainers.runc.checkpoint.enabled"
	annotationVersion    = "org.linux-vserver.vsrun.version"
	annotationCommit     = "org.linux-vserver.vsrun.commit"
	annotationLandlock   = "org.linux-vserver.vsrun.landlock.abi"
	annotationLibseccomp = "io.github.seccomp.libseccomp.version"
)

// Build is the program's own versions, and that of the kernel's Landlock interface; an empty one is not told.
type Build struct{ Version, Commit, Libseccomp, Landlock string }

// Known returns the document.
func Known(b Build) *features.Features {
	return &features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
		MountOptions:  mountopt.Known(),
		Linux:         linux(),
		Annotations:   annotations(b),
		PotentiallyUnsafeConfigAnnotations: []string{
			spec.VServerPrefix,
			"org.systemd.property.", // libvserver/cgroup
			"org.criu.config",       // whose actions are programs that CRIU runs
			"run.oci.",              // crun's
		},
	}
}

func linux() *features.Linux {
	yes := true
	return &features.Linux{
		Namespaces:   spec.Namespaces(),
		Capabilities: spec.Capabilities(),
		Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &yes, SystemdUser: &yes, Rdma: &yes},
		Seccomp: &features.Seccomp{
			Enabled:        &yes,
			Actions:        seccomp.KnownActions(),
			Operators:      seccomp.KnownOperators(),
			Archs:          seccomp.KnownArchs(),
			KnownFlags:     seccomp.KnownFlags(),
			SupportedFlags: seccomp.SupportedFlags(),
		},
		Apparmor:        &features.Apparmor{Enabled: &yes},
		Selinux:         &features.Selinux{Enabled: &yes},
		IntelRdt:        &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
		MemoryPolicy:    &features.MemoryPolicy{Modes: spec.MemoryPolicyModes(), Flags: spec.MemoryPolicyFlags()},
		MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
		NetDevices:      &features.NetDevices{Enabled: &yes},
	}
}

func annotations(b Build) map[string]string {
	m := make(map[string]string, 5)
	for _, a := range [...]struct{ key, value string }{
		{annotationCheckpoint, "true"}, {annotationVersion, b.Version}, {annotationCommit, b.Commit}, {annotationLibseccomp, b.Libseccomp}, {annotationLandlock, b.Landlock},
	} {
		if a.value != "" {
			m[a.key] = a.value
		}
	}
	return m
}

// AppendJSON appends the document as runc prints it: indented by four, with a
// newline at the end.
func AppendJSON(dst []byte, f *features.Features) []byte {
	w := wire.NewWriter(dst, "    ")
	encoder.EncodeFeatures(w, f)
	return append(w.Bytes(), '\n')
}
