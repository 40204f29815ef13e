package plan

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/spec"
)

const landlocked = head + `"annotations":{"org.linux-vserver.landlock":"true"},"mounts":[{"destination":"/tmp","type":"tmpfs"}],` +
	`"linux":{"namespaces":[{"type":"mount"},NS],"maskedPaths":["/x"],"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}`

func landlockPlan(t *testing.T, namespaces string, f *LandlockFacts) (*Plan, error) {
	t.Helper()
	facts := host(unified)
	facts.Landlock = f
	return Build(parse(t, strings.Replace(landlocked, ",NS", namespaces, 1)), facts, &Options{ID: "ID", Wait: true, PreserveFDs: 2})
}

func landlockStep(p *Plan) (s Landlock, at int) {
	at = slices.IndexFunc(p.Steps, func(s Step) bool { _, ok := s.(Landlock); return ok })
	if at >= 0 {
		s = p.Steps[at].(Landlock)
	}
	return s, at
}

// TestLandlockOrder: after every mount, while the process is still root; and not at all without the annotation.
func TestLandlockOrder(t *testing.T) {
	p, err := landlockPlan(t, "", &LandlockFacts{ABI: 6})
	if err != nil {
		t.Fatal(err)
	}
	s, at := landlockStep(p)
	for i, other := range p.Steps {
		switch other.(type) {
		case Mount, MaskPath, PivotRoot, MountRoot, Sysctl, Label, OOMScoreAdj, Console:
			if i > at {
				t.Errorf("%s comes after Landlock", other)
			}
		case User, Seccomp, Exec, CloseFDs:
			if i < at {
				t.Errorf("%s comes before Landlock", other)
			}
		}
	}
	if s.Preserve != 2 || !s.Own || len(s.Paths) != 1 || s.Paths[0].Path != "/" || s.Paths[0].Allowed != s.FS {
		t.Errorf("%+v", s)
	}
	if p, err = Build(parse(t, head+`"linux":{"namespaces":[{"type":"mount"}]}}`), host(unified), &Options{ID: "ID"}); err != nil {
		t.Fatal(err)
	}
	if _, at := landlockStep(p); at >= 0 {
		t.Error("a plain bundle is confined")
	}
}

func TestLandlockVersions(t *testing.T) {
	const scopes = unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL
	for _, c := range []struct {
		abi        int
		namespaces string
		fs, scoped uint64
	}{
		{2, "", landlockWrites, 0},
		{3, "", landlockWrites | unix.LANDLOCK_ACCESS_FS_TRUNCATE, 0},
		{5, "", landlockWrites | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, 0},
		{6, "", landlockWrites | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, scopes},
		{7, `,{"type":"pid"}`, landlockWrites | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET},
		{7, `,{"type":"pid"},{"type":"network","path":"/run/netns/x"}`, landlockWrites | unix.LANDLOCK_ACCESS_FS_TRUNCATE | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV, 0},
	} {
		p, err := landlockPlan(t, c.namespaces, &LandlockFacts{ABI: c.abi})
		if err != nil {
			t.Fatal(err)
		}
		if s, _ := landlockStep(p); s.FS != c.fs || s.Scoped != c.scoped {
			t.Errorf("ABI %d %s: handles %#x, scopes %#x", c.abi, c.namespaces, s.FS, s.Scoped)
		}
	}
}

func TestLandlockFaults(t *testing.T) {
	const at = `annotations["org.linux-vserver.landlock"]: `
	for _, c := range []struct {
		facts *LandlockFacts
		want  string
	}{
		{&LandlockFacts{Missing: "Landlock is not supported by this kernel"}, at + "Landlock is not supported by this kernel"},
		{&LandlockFacts{ABI: 1}, at + "needs version 2 of Landlock's interface, which Linux has since 5.19; this kernel has version 1"},
		{&LandlockFacts{ABI: 3, Ruleset: &spec.LandlockRuleset{Net: 1}}, at + "needs version 4 of Landlock's interface, which Linux has since 6.7; this kernel has version 3"},
	} {
		if _, err := landlockPlan(t, "", c.facts); err == nil || err.Error() != c.want {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}
