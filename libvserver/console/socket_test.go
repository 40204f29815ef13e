package console

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func listen(t *testing.T, dir, name string) (*net.UnixListener, string) {
	t.Helper()
	t.Chdir(dir) // the address is short, whatever the path is
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, filepath.Join(dir, name)
}

func TestSendPidfd(t *testing.T) {
	deep := filepath.Join(t.TempDir(), strings.Repeat("a", 100), strings.Repeat("b", 100))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, dir string
		relative  bool
	}{
		{name: "short", dir: t.TempDir()},
		{name: "long", dir: deep},
		{name: "relative", dir: t.TempDir(), relative: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l, path := listen(t, tc.dir, "sock")
			if tc.relative {
				path = "sock"
			}
			pidfd, err := unix.PidfdOpen(os.Getpid(), 0)
			if err != nil {
				t.Skipf("needs pidfd_open (Linux 5.3): %v", err)
			}
			defer unix.Close(pidfd)
			if err := SendPidfd(path, pidfd); err != nil {
				t.Fatal(err)
			}
			conn, err := l.AcceptUnix()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			buf, oob := make([]byte, 64), make([]byte, 64)
			n, oobn, _, _, err := conn.ReadMsgUnix(buf, oob)
			if err != nil || string(buf[:n]) != "standard" {
				t.Errorf("got %q, %v", buf[:n], err)
			}
			msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
			if err != nil || len(msgs) != 1 {
				t.Fatalf("%d messages, %v", len(msgs), err)
			}
			fds, err := unix.ParseUnixRights(&msgs[0])
			if err != nil || len(fds) != 1 {
				t.Fatalf("%d descriptors, %v", len(fds), err)
			}
			defer unix.Close(fds[0])
			if err := unix.PidfdSendSignal(fds[0], 0, nil, 0); err != nil {
				t.Errorf("not a pidfd: %v", err)
			}
		})
	}
}

func TestConnectSocketErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{
		filepath.Join(dir, "none"):                   unix.ENOENT,
		filepath.Join(dir, strings.Repeat("n", 120)): unix.ENOENT,
		file: unix.ECONNREFUSED,
		filepath.Join(file, strings.Repeat("n", 120)):              unix.ENOTDIR,
		filepath.Join(dir, strings.Repeat("n", 256), "name/limit"): unix.ENAMETOOLONG,
	} {
		fd, err := ConnectSocket(path)
		if err == nil {
			unix.Close(fd)
		}
		if !errors.Is(err, want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: got %v, want %v", path, err, want)
		}
	}
}
