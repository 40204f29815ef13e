package job

import (
	"fmt"

	"github.com/checkpoint-restore/go-criu/v8/rpc"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
)

// req0 is CRIU's type of a request, and of the answer that ends it.
func req0(q *proto.Request) rpc.CriuReqType {
	switch q.Kind {
	case proto.Version:
		return rpc.CriuReqType_VERSION
	case proto.Features:
		return rpc.CriuReqType_FEATURE_CHECK
	case proto.Dump:
		return rpc.CriuReqType_DUMP
	case proto.PreDump:
		return rpc.CriuReqType_PRE_DUMP
	case proto.Restore:
		return rpc.CriuReqType_RESTORE
	}
	return rpc.CriuReqType_EMPTY
}

// request words a request as CRIU wants it.
func request(q *proto.Request) (*rpc.CriuReq, error) {
	req := &rpc.CriuReq{Type: ptr(req0(q))}
	switch req.GetType() {
	case rpc.CriuReqType_EMPTY:
		return nil, fmt.Errorf("there is no request %q", q.Kind)
	case rpc.CriuReqType_VERSION:
		req.KeepOpen = ptr(true)
		return req, nil
	case rpc.CriuReqType_FEATURE_CHECK:
		req.KeepOpen = ptr(true)
		req.Features = new(rpc.CriuFeatures)
		for _, name := range q.Features {
			switch name {
			case proto.FeatureMemTrack:
				req.Features.MemTrack = ptr(true)
			case proto.FeatureLazyPages:
				req.Features.LazyPages = ptr(true)
			default:
				return nil, fmt.Errorf("there is no feature %q to ask for", name)
			}
		}
		return req, nil
	}
	var err error
	req.Opts, err = options(&q.Options)
	return req, err
}

func options(o *proto.Options) (*rpc.CriuOpts, error) {
	r := &rpc.CriuOpts{
		ImagesDirFd: ptr(int32(o.ImagesDirFD)), LogLevel: ptr(int32(o.LogLevel)), LogFile: text(o.LogFile),
		Root: text(o.Root), ParentImg: text(o.ParentImg), ConfigFile: text(o.ConfigFile), FreezeCgroup: text(o.FreezeCgroup),
		LsmProfile: text(o.LSMProfile), LsmMountContext: text(o.LSMMountContext), EmptyNs: ptr(uint32(o.EmptyNS)),
		NotifyScripts: ptr(true), ManageCgroups: ptr(true), // the mode below says how
		LeaveRunning: &o.LeaveRunning, TcpEstablished: &o.TCPEstablished, TcpSkipInFlight: flag(o.TCPSkipInFlight),
		MntnsCompatMode: flag(o.MountsCompat), TcpClose: flag(o.TCPClose), LinkRemap: flag(o.LinkRemap), ExtUnixSk: &o.ExtUnixSk, ShellJob: &o.ShellJob,
		FileLocks: &o.FileLocks, AutoDedup: flag(o.AutoDedup), LazyPages: flag(o.LazyPages), TrackMem: flag(o.TrackMem),
		OrphanPtsMaster: flag(o.OrphanPtsMaster), EvasiveDevices: flag(o.EvasiveDevices), RstSibling: flag(o.RstSibling),
		External: o.External,
	}
	if o.WorkDirFD >= 0 {
		r.WorkDirFd = ptr(int32(o.WorkDirFD))
	}
	if o.StatusFD >= 0 {
		r.StatusFd = ptr(int32(o.StatusFD))
	}
	if o.PID != 0 {
		r.Pid = ptr(int32(o.PID))
	}
	if o.PageServer != "" {
		r.Ps = &rpc.CriuPageServerInfo{Address: &o.PageServer, Port: ptr(int32(o.PageServerPort))}
	}
	mode, ok := cgroupModes[o.CgroupsMode]
	if !ok {
		return nil, fmt.Errorf("there is no mode %q of managing cgroups", o.CgroupsMode)
	}
	r.ManageCgroupsMode = &mode
	if o.NetworkLock != "" {
		lock, ok := networkLocks[o.NetworkLock]
		if !ok {
			return nil, fmt.Errorf("there is no network lock %q", o.NetworkLock)
		}
		r.NetworkLock = &lock
	}
	for _, p := range o.ExtMnt {
		r.ExtMnt = append(r.ExtMnt, &rpc.ExtMountMap{Key: ptr(p.Key), Val: ptr(p.Val)})
	}
	for _, p := range o.CgroupRoot {
		r.CgRoot = append(r.CgRoot, &rpc.CgroupRoot{Ctrl: ptr(p.Key), Path: ptr(p.Val)})
	}
	for _, p := range o.JoinNS {
		r.JoinNs = append(r.JoinNs, &rpc.JoinNamespace{Ns: ptr(p.Key), NsFile: ptr(p.Val)})
	}
	for _, f := range o.InheritFD {
		r.InheritFd = append(r.InheritFd, &rpc.InheritFd{Key: ptr(f.Key), Fd: ptr(int32(f.FD))})
	}
	return r, nil
}

var cgroupModes = map[string]rpc.CriuCgMode{
	"": rpc.CriuCgMode_DEFAULT, "soft": rpc.CriuCgMode_SOFT, "full": rpc.CriuCgMode_FULL, "strict": rpc.CriuCgMode_STRICT,
	"ignore": rpc.CriuCgMode_IGNORE,
}

var networkLocks = map[string]rpc.CriuNetworkLockMethod{
	"iptables": rpc.CriuNetworkLockMethod_IPTABLES, "nftables": rpc.CriuNetworkLockMethod_NFTABLES, "skip": rpc.CriuNetworkLockMethod_SKIP,
}

// text is an optional string, flag an optional flag: older versions of CRIU do not know all, and what is not asked for
// is not said.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func flag(v bool) *bool {
	if !v {
		return nil
	}
	return &v
}
