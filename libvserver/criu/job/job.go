// Package job is the job "criu" of vsrun-helper: it passes requests of vsrun on to CRIU and tells vsrun what CRIU asks
// (see package proto). CRIU itself is a child of vsrun's, as the processes that it restores are to be: this package
// starts nothing.
//
// It links go-criu and its protocol buffers, so it must never be linked into vsrun itself.
package job

import (
	"errors"
	"fmt"
	"os"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/checkpoint-restore/go-criu/v8/stats"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
	"github.com/vsrun/vsrun/libvserver/host"
)

// Serve answers the requests that come on the socket control until its end. criu is the other end of the socket that
// CRIU's `swrk` was given. The error is about control; what goes wrong with CRIU is told as an event.
func Serve(control, criu int) error {
	giveBack := host.KeepCgroupFlags()
	defer func() { _ = giveBack() }() // vsrun, if it is there, tries again and says what was wrong
	s := &server{control: control, criu: criu, in: make([]byte, proto.MaxMessage), resp: make([]byte, maxResponse)}
	for {
		n, err := receive(control, s.in, nil)
		if err != nil {
			return fmt.Errorf("receive a request: %w", err)
		}
		if n == 0 {
			return nil
		}
		q, err := proto.DecodeRequest(s.in[:n])
		if err != nil {
			return fmt.Errorf("request: %w", err)
		}
		if err := s.serve(q); err != nil {
			return err
		}
	}
}

// maxResponse bounds CRIU's messages, in bytes. They hold a few numbers and a word.
const maxResponse = 64 << 10

type server struct {
	control, criu int
	in, resp      []byte
}

// errGone says that CRIU has closed its end: it gave up, or crashed.
var errGone = errors.New("CRIU ended without an answer")

func (s *server) serve(q *proto.Request) error {
	req, err := request(q)
	if err != nil {
		return s.fail("", 0, err.Error())
	}
	for {
		resp, fd, err := s.call(req)
		if err != nil {
			return s.fail("", 0, err.Error())
		}
		kind := resp.GetType()
		if !resp.GetSuccess() {
			closeFD(fd)
			return s.fail(kind.String(), int(resp.GetCrErrno()), resp.GetCrErrmsg())
		}
		if kind != rpc.CriuReqType_NOTIFY {
			closeFD(fd)
			if kind != req0(q) {
				return s.fail(kind.String(), 0, "CRIU answers another question than was asked")
			}
			return s.done(q, resp)
		}
		ok, err := s.notify(resp.GetNotify(), fd)
		closeFD(fd)
		if err != nil {
			return err
		}
		req = &rpc.CriuReq{Type: ptr(rpc.CriuReqType_NOTIFY), NotifySuccess: &ok}
	}
}

// call sends a message to CRIU and receives the next one, with a descriptor or -1.
func (s *server) call(req *rpc.CriuReq) (*rpc.CriuResp, int, error) {
	b, err := req.MarshalVT()
	if err != nil {
		return nil, -1, err
	}
	if err := send(s.criu, b, -1); err != nil {
		if errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET) {
			err = errGone
		}
		return nil, -1, err
	}
	fd := -1
	n, err := receive(s.criu, s.resp, &fd)
	if err == nil && n == 0 || errors.Is(err, unix.ECONNRESET) {
		err = errGone
	}
	resp := new(rpc.CriuResp)
	if err == nil {
		if err = resp.UnmarshalVT(s.resp[:n]); err != nil {
			err = fmt.Errorf("CRIU's answer: %w", err)
		}
	}
	if err != nil {
		closeFD(fd)
		return nil, -1, err
	}
	return resp, fd, nil
}

// notify passes a notification on and returns whether CRIU is to go on.
func (s *server) notify(n *rpc.CriuNotify, fd int) (bool, error) {
	e := proto.Event{Kind: proto.Notify, Script: n.GetScript(), PID: int(n.GetPid())}
	if err := send(s.control, e.Encode(), fd); err != nil {
		return false, fmt.Errorf("send an event: %w", err)
	}
	k, err := receive(s.control, s.in, nil)
	if err == nil && k == 0 {
		err = errors.New("vsrun is gone")
	}
	if err != nil {
		return false, fmt.Errorf("receive a reply: %w", err)
	}
	return proto.GoesOn(s.in[:k]), nil
}

func (s *server) fail(kind string, errno int, text string) error {
	e := proto.Event{Kind: proto.Failed, Type: kind, Errno: errno, Message: text}
	return s.event(&e)
}

func (s *server) event(e *proto.Event) error {
	if err := send(s.control, e.Encode(), -1); err != nil {
		return fmt.Errorf("send an event: %w", err)
	}
	return nil
}

func (s *server) done(q *proto.Request, resp *rpc.CriuResp) error {
	e := proto.Event{Kind: proto.Done}
	switch q.Kind {
	case proto.Version:
		v := resp.GetVersion()
		e.Version = int(v.GetMajorNumber()*10000 + v.GetMinorNumber()*100 + v.GetSublevel())
		if v.GetGitid() != "" {
			// What is built from git is newer than the release it calls itself by: it counts as the next one, as in go-criu.
			e.Version += 100 - e.Version%100
		}
	case proto.Features:
		f := resp.GetFeatures()
		for _, name := range q.Features {
			if name == proto.FeatureMemTrack && !f.GetMemTrack() || name == proto.FeatureLazyPages && !f.GetLazyPages() {
				e.Missing = append(e.Missing, name)
			}
		}
	case proto.Dump, proto.PreDump:
		e.Stats = dumpStats(q.StatsDir)
	}
	return s.event(&e)
}

// dumpStats reads what CRIU has counted; a file that is not there or makes no sense counts nothing.
func dumpStats(dir string) (s proto.Stats) {
	if dir == "" {
		return s
	}
	defer func() { _ = recover() }() // the reader trusts the file's length
	f, err := os.Open(dir)
	if err != nil {
		return s
	}
	defer f.Close()
	d, err := stats.CriuGetDumpStats(f)
	if err != nil || d == nil {
		return s
	}
	return proto.Stats{PagesScanned: d.GetPagesScanned(), PagesSkipped: d.GetPagesSkippedParent(), PagesWritten: d.GetPagesWritten(),
		FrozenTime: uint64(d.GetFrozenTime())}
}

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

func ptr[T any](v T) *T { return &v }

// send sends a message, with a descriptor if that is not -1.
func send(sock int, b []byte, fd int) error {
	var oob []byte
	if fd >= 0 {
		oob = unix.UnixRights(fd)
	}
	for {
		err := unix.Sendmsg(sock, b, oob, nil, unix.MSG_NOSIGNAL)
		if err != unix.EINTR {
			return err
		}
	}
}

// receive receives a message, and a descriptor into *fd if fd is not nil. A length of 0 is the end.
func receive(sock int, b []byte, fd *int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, flags, _, err := unix.Recvmsg(sock, b, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, err
		}
		got := rights(oob[:oobn])
		if fd != nil {
			*fd = got
		} else {
			closeFD(got)
		}
		if flags&unix.MSG_TRUNC != 0 {
			return 0, errors.New("the message is too long")
		}
		return n, nil
	}
}

func rights(oob []byte) int {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return -1
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return -1
	}
	return fds[0]
}
