package host

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseMounts(t *testing.T) {
	text := `22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw,errors=remount-ro
30 22 0:26 /a\040b /mnt/c\134d rw - overlay over\040lay rw,lowerdir=/l\054,upperdir=/u\040v
what is not of this kind
31 22 0:27 / /x rw - tmpfs
32 22 0:28 / /y rw shared:2 master:1 - tmpfs tmpfs rw
`
	want := []Mount{
		{22, "254:1", "/", "/", "ext4", "rw,errors=remount-ro"},
		{30, "0:26", "/a b", `/mnt/c\d`, "overlay", "rw,lowerdir=/l,,upperdir=/u v"},
		{32, "0:28", "/", "/y", "tmpfs", "rw"},
	}
	if d := cmp.Diff(want, ParseMounts(text)); d != "" {
		t.Error(d)
	}
	for in, want := range map[string]string{`/a\040b\134`: `/a b\`, "/plain": "/plain", `/\0`: `/\0`, `/\8000`: `/\8000`} {
		if got := unescape(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestMounts(t *testing.T) {
	list, err := Mounts("self")
	if err != nil || !slices.ContainsFunc(list, func(m Mount) bool { return m.Point == "/proc" && m.Type == "proc" }) {
		t.Errorf("/proc is not among the mounts, %v", err)
	}
	if _, err := Mounts("none"); err == nil || !strings.Contains(err.Error(), "/proc/none/mountinfo") {
		t.Errorf("of no process: %v", err)
	}
}
