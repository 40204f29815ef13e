package libvserver

import (
	"github.com/vsrun/vsrun/libvserver/launch"
	"github.com/vsrun/vsrun/libvserver/state"
	"github.com/vsrun/vsrun/spec/wire"
)

// launched is what later verbs have to know of a launch without planning it again.
type launched struct {
	// PIDNS: the container has a pid namespace of its own, so its first process takes all others with it.
	PIDNS bool
	// NS are the CLONE_NEW* flags of the namespaces that are not the runtime's.
	NS uint64
	// StartHooks, PostHooks: there are startContainer, poststart or poststop hooks in the config.
	StartHooks, PostStart, PostStop bool
	// Listener: a seccomp notify descriptor is handed over at start.
	Listener bool
	// Notify: an sd_notify proxy is wanted.
	Notify bool
	// Restored: CRIU has made the container, with processes that came of execs.
	Restored bool
	// NoNewKeyring: create was given the flag of this name.
	NoNewKeyring bool
	// Below is the id of the mount that the rootfs lies in, where the container's mounts are made in the caller's mount
	// namespace; else 0.
	Below uint64
	// RdtMon and RdtGroup are directories in resctrl that go with the container.
	RdtMon, RdtGroup string
	// NID is the id of the network context, 0 if there is none; NetCgroup the cgroup that its programs are on, also where
	// they only count sockets.
	NID       uint32
	NetCgroup string
	// Landlock is the text of the bundle's ruleset file: what exec brings is confined as the container was.
	Landlock string
	// Upper is the layer above a unified tree.
	Upper upperRecord
	Late  []launch.LateStep
}

func (l *launched) save(rec *state.Record) {
	w := wire.NewWriter(nil, "")
	w.BeginObject()
	flag := func(key string, v bool) {
		if v {
			w.Key(key)
			w.Bool(true)
		}
	}
	flag("pidns", l.PIDNS)
	flag("startHooks", l.StartHooks)
	flag("postStart", l.PostStart)
	flag("postStop", l.PostStop)
	flag("listener", l.Listener)
	flag("notify", l.Notify)
	flag("restored", l.Restored)
	flag("noNewKeyring", l.NoNewKeyring)
	if l.Below != 0 {
		w.Key("below")
		w.Uint(l.Below)
	}
	flag("upperKeep", l.Upper.Keep)
	flag("upperLimited", l.Upper.Limited)
	flag("upperMade", l.Upper.Made)
	for _, text := range [...]struct{ key, value string }{
		{"rdtMon", l.RdtMon}, {"rdtGroup", l.RdtGroup}, {"netCgroup", l.NetCgroup}, {"landlock", l.Landlock}, {"private", l.Upper.Private}, {"upper", l.Upper.Dir},
	} {
		if text.value != "" {
			w.Key(text.key)
			w.String(text.value)
		}
	}
	if l.NID != 0 {
		w.Key("nid")
		w.Uint(uint64(l.NID))
	}
	w.Key("ns")
	w.Uint(l.NS)
	if len(l.Late) > 0 {
		w.Key("late")
		w.BeginArray()
		for _, s := range l.Late {
			w.BeginArray()
			w.Int(int64(s.Insn))
			w.Int(int64(s.Kind))
			w.String(s.Origin)
			w.String(s.Step)
			w.String(s.Call)
			w.EndArray()
		}
		w.EndArray()
	}
	w.EndObject()
	rec.SetPart(launchPart, w.Bytes())
}

func loadLaunched(rec *state.Record) (l launched) {
	raw := rec.Part(launchPart)
	if raw == nil {
		return l
	}
	r := wire.NewReader(raw)
	r.Object(func(key string) {
		switch key {
		case "pidns":
			l.PIDNS = r.Bool()
		case "startHooks":
			l.StartHooks = r.Bool()
		case "postStart":
			l.PostStart = r.Bool()
		case "postStop":
			l.PostStop = r.Bool()
		case "listener":
			l.Listener = r.Bool()
		case "notify":
			l.Notify = r.Bool()
		case "restored":
			l.Restored = r.Bool()
		case "rdtMon":
			l.RdtMon = r.String()
		case "rdtGroup":
			l.RdtGroup = r.String()
		case "landlock":
			l.Landlock = r.String()
		case "private":
			l.Upper.Private = r.String()
		case "upper":
			l.Upper.Dir = r.String()
		case "upperKeep":
			l.Upper.Keep = r.Bool()
		case "upperMade":
			l.Upper.Made = r.Bool()
		case "upperLimited":
			l.Upper.Limited = r.Bool()
		case "netCgroup":
			l.NetCgroup = r.String()
		case "nid":
			l.NID = uint32(r.Uint64())
		case "below":
			l.Below = r.Uint64()
		case "noNewKeyring":
			l.NoNewKeyring = r.Bool()
		case "ns":
			l.NS = r.Uint64()
		case "late":
			r.Array(func(int) {
				var s launch.LateStep
				r.Array(func(i int) {
					switch i {
					case 0:
						s.Insn = int(r.Int64())
					case 1:
						s.Kind = byte(r.Int64())
					case 2:
						s.Origin = r.String()
					case 3:
						s.Step = r.String()
					case 4:
						s.Call = r.String()
					default:
						r.Skip()
					}
				})
				l.Late = append(l.Late, s)
			})
		default:
			r.Skip()
		}
	})
	return l
}
