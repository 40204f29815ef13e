package cgroup

import (
	"os"
	"testing"
)

func TestRootsSystemd(t *testing.T) {
	inProcess := runHelper
	t.Cleanup(func() { runHelper = inProcess })
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/bus", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		address, dir string
		answer       string // of the helper, "" if it must not be asked
		want         bool
	}{
		{want: true},
		{dir: dir + "/nosuch", want: true},
		{dir: dir, answer: `{"answer":0}`, want: true},
		{dir: dir, answer: `{"answer":1000}`},
		{dir: dir, answer: `{"error":"could not execute busctl"}`, want: true},
		{address: "unix:path=/run/user/1000/bus"},
		{address: "unix:path=/run/user/1000/bus,guid=1"},
		{address: "unix:path=/run/user/0/bus", answer: `{"answer":0}`, want: true},
		{address: "unix:abstract=/tmp/dbus-x", dir: dir, answer: `{"answer":1000}`},
	} {
		t.Setenv("DBUS_SESSION_BUS_ADDRESS", c.address)
		t.Setenv("XDG_RUNTIME_DIR", c.dir)
		asked := ""
		runHelper = func(name string, _ []byte) ([]byte, error) {
			asked = name
			return []byte(c.answer), nil
		}
		if got := RootsSystemd(); got != c.want || (asked == "systemd-owner") != (c.answer != "") {
			t.Errorf("%+v: %v, asked %q", c, got, asked)
		}
	}
}
