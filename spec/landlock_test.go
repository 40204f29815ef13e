package spec

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestParseLandlock(t *testing.T) {
	got, err := ParseLandlock([]byte(`{"pathBeneath":[{"parent":["/tmp","/dev/null"],"allowedAccess":["write_file"]},{"allowedAccess":["execute","write_file"],"parent":["/"]}],
		"ruleset":[{"handledAccessFs":["execute","write_file"]},{"handledAccessNet":["bind_tcp","connect_tcp"],"scoped":["signal"]}],
		"netPort":[{"port":[80,443],"allowedAccess":["bind_tcp"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	want := &LandlockRuleset{FS: unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE,
		Net: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP, Scoped: unix.LANDLOCK_SCOPE_SIGNAL,
		Paths: []LandlockPath{{unix.LANDLOCK_ACCESS_FS_WRITE_FILE, "/tmp"}, {unix.LANDLOCK_ACCESS_FS_WRITE_FILE, "/dev/null"},
			{unix.LANDLOCK_ACCESS_FS_EXECUTE | unix.LANDLOCK_ACCESS_FS_WRITE_FILE, "/"}},
		Ports: []LandlockPort{{unix.LANDLOCK_ACCESS_NET_BIND_TCP, 80}, {unix.LANDLOCK_ACCESS_NET_BIND_TCP, 443}}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if abi, since := got.LandlockABI(); abi != 6 || since != "6.12" {
		t.Errorf("needs version %d of Linux %s", abi, since)
	}
}

// TestLandlockNames: each name stands for the bit of linux/landlock.h.
func TestLandlockNames(t *testing.T) {
	for name, bit := range map[string]uint64{"execute": unix.LANDLOCK_ACCESS_FS_EXECUTE, "write_file": unix.LANDLOCK_ACCESS_FS_WRITE_FILE,
		"read_file": unix.LANDLOCK_ACCESS_FS_READ_FILE, "read_dir": unix.LANDLOCK_ACCESS_FS_READ_DIR, "remove_dir": unix.LANDLOCK_ACCESS_FS_REMOVE_DIR,
		"remove_file": unix.LANDLOCK_ACCESS_FS_REMOVE_FILE, "make_char": unix.LANDLOCK_ACCESS_FS_MAKE_CHAR, "make_dir": unix.LANDLOCK_ACCESS_FS_MAKE_DIR,
		"make_reg": unix.LANDLOCK_ACCESS_FS_MAKE_REG, "make_sock": unix.LANDLOCK_ACCESS_FS_MAKE_SOCK, "make_fifo": unix.LANDLOCK_ACCESS_FS_MAKE_FIFO,
		"make_block": unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK, "make_sym": unix.LANDLOCK_ACCESS_FS_MAKE_SYM, "refer": unix.LANDLOCK_ACCESS_FS_REFER,
		"truncate": unix.LANDLOCK_ACCESS_FS_TRUNCATE, "ioctl_dev": unix.LANDLOCK_ACCESS_FS_IOCTL_DEV} {
		s, err := ParseLandlock([]byte(`{"ruleset":[{"handledAccessFs":["` + name + `"]}]}`))
		if err != nil || s.FS != bit {
			t.Errorf("%s: %+v, %v; want %#x", name, s, err, bit)
		}
	}
	for name, bit := range map[string]uint64{"abstract_unix_socket": unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET, "signal": unix.LANDLOCK_SCOPE_SIGNAL} {
		s, err := ParseLandlock([]byte(`{"ruleset":[{"scoped":["` + name + `"]}]}`))
		if err != nil || s.Scoped != bit {
			t.Errorf("%s: %+v, %v; want %#x", name, s, err, bit)
		}
	}
}

func TestParseLandlockFaults(t *testing.T) {
	const handled = `"ruleset":[{"handledAccessFs":["write_file"],"handledAccessNet":["bind_tcp"]}]`
	for _, c := range []struct{ name, in, want string }{
		{"not JSON", `{`, "line 1"},
		{"null", `null`, "must be an object"},
		{"nothing", `{}`, "ruleset: nothing is handled"},
		{"unknown member", `{` + handled + `,"pathBeneth":[]}`, `unknown member "pathBeneth" of a ruleset (did you mean "pathBeneath"?)`},
		{"unknown right", `{"ruleset":[{"handledAccessFs":["write"]}]}`, `ruleset[0].handledAccessFs[0]: unknown right "write"`},
		{"unknown scope", `{"ruleset":[{"scoped":["signals"]}]}`, `(did you mean "signal"?)`},
		{"relative", `{` + handled + `,"pathBeneath":[{"allowedAccess":["write_file"],"parent":["tmp"]}]}`, `pathBeneath[0].parent[0]: must be an absolute path`},
		{"NUL", `{` + handled + `,"pathBeneath":[{"allowedAccess":["write_file"],"parent":["/a\u0000b"]}]}`, "NUL"},
		{"no access", `{` + handled + `,"pathBeneath":[{"parent":["/"]}]}`, "pathBeneath[0].allowedAccess: is required"},
		{"not handled", `{` + handled + `,"pathBeneath":[{"parent":["/"],"allowedAccess":["write_file","truncate"]}]}`, `"/" is allowed what handledAccessFs has not: truncate`},
		{"port", `{` + handled + `,"netPort":[{"port":[65536],"allowedAccess":["bind_tcp"]}]}`, "netPort[0].port[0]: must be a port (got 65536)"},
		{"port not handled", `{` + handled + `,"netPort":[{"port":[1],"allowedAccess":["connect_tcp"]}]}`, "port 1 is allowed what handledAccessNet has not: connect_tcp"},
		{"types", `{"ruleset":{}}`, "ruleset: must be an array"},
	} {
		if _, err := ParseLandlock([]byte(c.in)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
}

func TestLandlockAnnotation(t *testing.T) {
	for value, want := range map[string]Landlock{"true": {On: true}, "false": {}, "./rules.json": {true, "./rules.json"}, "/etc/x": {true, "/etc/x"}} {
		b, err := Parse(change(t, base, `annotations={"org.linux-vserver.landlock":"`+value+`"}`), "/bundle")
		if err != nil || b.VServer.Landlock != want || len(b.Warnings) > 0 {
			t.Errorf("%s: %+v %v", value, b, err)
		}
	}
	for _, value := range []string{"", "yes", "1", "TRUE", "rules.json"} {
		_, err := Parse(change(t, base, `annotations={"org.linux-vserver.landlock":"`+value+`"}`), "/bundle")
		if err == nil || !strings.Contains(err.Error(), `annotations["org.linux-vserver.landlock"]: must be "true", "false"`) {
			t.Errorf("%q: %v", value, err)
		}
	}
}
