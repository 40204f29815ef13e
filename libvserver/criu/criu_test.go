package criu

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/helper"
)

// TestMain plays CRIU when it is started as such.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "swrk" {
		os.Exit(fakeCriu(os.Getenv("FAKE_CRIU")))
	}
	os.Exit(m.Run())
}

func ptr[T any](v T) *T { return &v }

// fakeCriu answers on descriptor 3. how says what happens to a dump or a restore.
func fakeCriu(how string) int {
	buf := make([]byte, 64<<10)
	receive := func() *rpc.CriuReq {
		n, err := unix.Read(3, buf)
		req := new(rpc.CriuReq)
		if err != nil || n == 0 || req.UnmarshalVT(buf[:n]) != nil {
			return nil
		}
		return req
	}
	send := func(resp *rpc.CriuResp, fds ...int) {
		b, err := resp.MarshalVT()
		if err != nil {
			panic(err)
		}
		var oob []byte
		if len(fds) > 0 {
			oob = unix.UnixRights(fds...)
		}
		if err := unix.Sendmsg(3, b, oob, nil, 0); err != nil {
			panic(err)
		}
	}
	for {
		req := receive()
		if req == nil {
			return 0
		}
		switch req.GetType() {
		case rpc.CriuReqType_VERSION:
			send(&rpc.CriuResp{Type: req.Type, Success: ptr(true), Version: &rpc.CriuVersion{
				MajorNumber: ptr(int32(4)), MinorNumber: ptr(int32(1)), Sublevel: ptr(int32(2))}})
			continue
		case rpc.CriuReqType_FEATURE_CHECK:
			send(&rpc.CriuResp{Type: req.Type, Success: ptr(true), Features: &rpc.CriuFeatures{MemTrack: ptr(true)}})
			continue
		}
		switch how {
		case "crash":
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		case "refuse":
			send(&rpc.CriuResp{Type: req.Type, Success: ptr(false), CrErrno: ptr(int32(22)), CrErrmsg: ptr("no, thanks\n")})
			return 1
		case "ends badly":
			send(&rpc.CriuResp{Type: req.Type, Success: ptr(true)})
			return 3
		}
		// What was asked for comes back as the name of a notification.
		text := fmt.Sprintf("%s of %d in %d with %v %v", req.GetType(), req.GetOpts().GetPid(), req.GetOpts().GetImagesDirFd(),
			req.GetOpts().GetShellJob(), req.GetOpts().GetExtMnt())
		for i, script := range []string{text, "with a descriptor", "post-restore"} {
			notify := &rpc.CriuResp{Type: ptr(rpc.CriuReqType_NOTIFY), Success: ptr(true), Notify: &rpc.CriuNotify{Script: &script}}
			switch i {
			case 1:
				send(notify, 2)
			case 2:
				notify.Notify.Pid = ptr(int32(os.Getpid()))
				send(notify)
			default:
				send(notify)
			}
			answer := receive()
			if answer == nil || answer.GetType() != rpc.CriuReqType_NOTIFY {
				return 4
			}
			if !answer.GetNotifySuccess() {
				send(&rpc.CriuResp{Type: req.Type, Success: ptr(false)})
				return 1
			}
		}
		send(&rpc.CriuResp{Type: req.Type, Success: ptr(true)})
		return 0
	}
}

func start(t *testing.T, how string, o Options) *Session {
	t.Helper()
	if _, err := helper.ID(); err != nil {
		t.Skip("needs vsrun-helper: ", err)
	}
	t.Setenv("FAKE_CRIU", how)
	var err error
	if o.Path, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	s, err := Start(&o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

var quiet = Options{Stdio: [3]int{-1, -1, -1}}

func TestSession(t *testing.T) {
	s := start(t, "", quiet)
	if v, err := s.Version(); v != 40102 || err != nil {
		t.Errorf("version %d, %v", v, err)
	}
	missing, err := s.Missing(proto.FeatureMemTrack, proto.FeatureLazyPages)
	if d := cmp.Diff([]string{proto.FeatureLazyPages}, missing); d != "" || err != nil {
		t.Error(d, err)
	}
	var said []string
	q := &proto.Request{Kind: proto.Restore, Options: proto.Options{
		PID: 5, ImagesDirFD: 9, WorkDirFD: -1, StatusFD: -1, ShellJob: true, ExtMnt: []proto.Pair{{Key: "/a", Val: "/b"}}}}
	_, err = s.Do(q, func(n *Notification) error {
		said = append(said, n.Script)
		if (n.FD >= 0) != (n.Script == "with a descriptor") {
			t.Errorf("%s came with descriptor %d", n.Script, n.FD)
		}
		if n.FD >= 0 {
			if _, err := unix.FcntlInt(uintptr(n.FD), unix.F_GETFD, 0); err != nil {
				t.Errorf("descriptor %d: %v", n.FD, err)
			}
		}
		if n.Script == "post-restore" && n.PID != s.PID {
			t.Errorf("pid %d, want %d", n.PID, s.PID)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	if len(said) != 3 || !strings.Contains(said[0], "RESTORE of 5 in 9 with true") || !strings.Contains(said[0], "/a") {
		t.Errorf("notifications: %q", said)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestFailures(t *testing.T) {
	dump := &proto.Request{Kind: proto.Dump, Options: proto.Options{WorkDirFD: -1, StatusFD: -1}}
	t.Run("refusal", func(t *testing.T) {
		s := start(t, "refuse", quiet)
		_, err := s.Do(dump, nil)
		var f *Failure
		if !errors.As(err, &f) || err.Error() != "criu failed: type DUMP errno 22: no, thanks" {
			t.Errorf("error %v", err)
		}
		if err := s.Close(); err == nil || err.Error() != "criu exited with status 1" {
			t.Errorf("end: %v", err)
		}
	})
	t.Run("crash", func(t *testing.T) {
		s := start(t, "crash", quiet)
		if _, err := s.Do(dump, nil); err == nil || err.Error() != "criu failed: CRIU ended without an answer" {
			t.Errorf("error %v", err)
		}
		if err := s.Close(); err == nil || err.Error() != "criu was killed by SIGKILL" {
			t.Errorf("end: %v", err)
		}
	})
	t.Run("a bad end", func(t *testing.T) {
		s := start(t, "ends badly", quiet)
		if _, err := s.Do(dump, nil); err != nil {
			t.Errorf("error %v", err)
		}
		if err := s.Close(); err == nil || err.Error() != "criu exited with status 3" {
			t.Errorf("end: %v", err)
		}
	})
	t.Run("the caller gives up", func(t *testing.T) {
		s := start(t, "", quiet)
		want := errors.New("enough")
		calls := 0
		_, err := s.Do(dump, func(*Notification) error { calls++; return want })
		if !errors.Is(err, want) || calls != 1 {
			t.Errorf("error %v after %d calls", err, calls)
		}
	})
	t.Run("nonsense", func(t *testing.T) {
		s := start(t, "", quiet)
		if _, err := s.Do(&proto.Request{Kind: "juggle"}, nil); err == nil || !strings.Contains(err.Error(), `there is no request "juggle"`) {
			t.Errorf("error %v", err)
		}
		bad := *dump
		bad.Options.CgroupsMode = "wild"
		if _, err := s.Do(&bad, nil); err == nil || !strings.Contains(err.Error(), `"wild"`) {
			t.Errorf("error %v", err)
		}
		// It still serves.
		if v, err := s.Version(); v == 0 || err != nil {
			t.Errorf("version %d, %v", v, err)
		}
	})
	t.Run("too long", func(t *testing.T) {
		s := start(t, "", quiet)
		long := *dump
		long.Options.Root = strings.Repeat("x", proto.MaxMessage)
		if _, err := s.Do(&long, nil); err == nil || !strings.Contains(err.Error(), "longer than") {
			t.Errorf("error %v", err)
		}
	})
	if _, err := Start(&Options{Path: "/nonexistent", Stdio: quiet.Stdio}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("no such program: %v", err)
	}
}

// TestLeavesNothing: no descriptor, no child.
func TestLeavesNothing(t *testing.T) {
	count := func() int {
		l, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(l)
	}
	before := count()
	for range 3 {
		s := start(t, "", quiet)
		if _, err := s.Do(&proto.Request{Kind: proto.Dump, Options: proto.Options{WorkDirFD: -1, StatusFD: -1}}, nil); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		_, _ = Start(&Options{Path: "/nonexistent", Stdio: quiet.Stdio})
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
	var st unix.WaitStatus
	if pid, err := unix.Wait4(-1, &st, unix.WNOHANG, nil); err != unix.ECHILD {
		t.Errorf("child %d is left (%v)", pid, err)
	}
}
