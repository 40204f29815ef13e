package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/netcontext"
	"github.com/vsrun/vsrun/spec"
	"github.com/vsrun/vsrun/spec/wire"
)

func netCommand() *command {
	format := "table"
	return &command{
		name: "net", usage: "show network contexts: containers that have addresses instead of a network namespace",
		args: "list|show|gc [container-id]",
		about: `The net command shows network contexts (org.linux-vserver.net.addresses):

    list     those of the whole host: id, container, loopback address, addresses,
             sockets now, at most and the limit, what was refused
    show     one container's, with its listeners and what was counted: binds that
             were given another address, sources that were set, what was denied
    gc       removes what a crash has left of contexts whose container is no more

A listener is shown at the address it is bound to; "all" says that it asked for
0.0.0.0 or :: and answers on all addresses of the context. Sockets are counted
where rlimits.nsock is set, be it to a number or to inf. In list, "gone" is a
context whose container is no more; the next that wants its id or an address of
it gets it, without gc too.`,
		min: 1, max: 2,
		flags: func(f *flags) {
			f.string(&format, "format, f", "select one of: table or json")
		},
		run: func(c *context) (int, error) {
			if format != "table" && format != "json" {
				return 0, fmt.Errorf("invalid format option %q: table or json", format)
			}
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			switch verb := c.args[0]; {
			case verb == "list" && len(c.args) == 1:
				list, err := v.NetContexts()
				if err != nil {
					return 0, err
				}
				if format == "json" {
					return 0, c.print(appendNetList(nil, list))
				}
				return 0, c.print(appendNetTable(nil, list))
			case verb == "show" && len(c.args) == 2:
				n, err := v.NetContext(c.args[1])
				if err != nil {
					return 0, err
				}
				if format == "json" {
					return 0, c.print(append(appendNet(nil, n), '\n'))
				}
				return 0, c.print(appendNetText(nil, n))
			case verb == "gc" && len(c.args) == 1:
				l, err := v.SweepNetContexts()
				if err != nil {
					return 0, err
				}
				return 0, c.print([]byte("removed " + strconv.Itoa(l.Contexts) + " contexts, " + strconv.Itoa(l.Addresses) + " addresses, " + strconv.Itoa(l.Pins) + " pins\n"))
			case verb == "list" || verb == "gc" || verb == "show":
				return 0, fmt.Errorf("net %s: %s", verb, map[bool]string{false: "takes no arguments", true: "needs a container id"}[verb == "show"])
			default:
				return 0, fmt.Errorf("net: there is no %q: list, show or gc", verb)
			}
		},
	}
}

func loopbackText(n *libvserver.NetReport) string {
	if n.Loopback == [4]byte{} {
		return "-"
	}
	a := spec.IPAddress{Addr: [16]byte{10: 0xff, 11: 0xff, 12: n.Loopback[0], 13: n.Loopback[1], 14: n.Loopback[2], 15: n.Loopback[3]}}
	return a.String()
}

func addressesText(n *libvserver.NetReport) string {
	var list []string
	for i := range n.Addresses {
		a := &n.Addresses[i]
		list = append(list, a.String()+"/"+strconv.Itoa(int(a.Bits)))
	}
	return strings.Join(list, ",")
}

func socketLimit(s *netcontext.Storage) string {
	if s.State&netcontext.StateLimit == 0 {
		return "-"
	}
	return strconv.FormatUint(s.Limit, 10)
}

func appendNetTable(b []byte, list []libvserver.NetReport) []byte {
	columns := []column{{"NID", false}, {"ID", true}, {"STATUS", true}, {"LOOPBACK", true}, {"SOCKETS", false}, {"PEAK", false}, {"LIMIT", false}, {"DENIED", false}, {"ADDRESSES", true}}
	rows := make([][]string, len(list))
	for i := range list {
		n := &list[i]
		row := []string{strconv.Itoa(int(n.NID)), n.ID, "live", loopbackText(n), "-", "-", "-", "-", addressesText(n)}
		if n.Gone {
			row[2] = "gone"
		}
		if s := n.Storage; s != nil {
			if s.State&netcontext.StateCount != 0 {
				row[4], row[5], row[6] = strconv.FormatUint(s.Now, 10), strconv.FormatUint(s.Max, 10), socketLimit(s)
			}
			row[7] = strconv.FormatUint(s.Denied+s.Hits, 10)
		}
		rows[i] = row
	}
	return appendTable(b, columns, rows)
}

func appendNetText(b []byte, n *libvserver.NetReport) []byte {
	line := func(key, value string) {
		b = append(b, key...)
		b = appendSpaces(b, 17-len(key))
		b = append(append(b, value...), '\n')
	}
	num := func(key string, v uint64) { line(key, strconv.FormatUint(v, 10)) }
	line("container", n.ID)
	num("nid", uint64(n.NID))
	line("addresses", addressesText(n))
	line("loopback", loopbackText(n))
	line("cgroup", n.Cgroup)
	num("netns cookie", n.Netns)
	if s := n.Storage; s != nil {
		if s.State&netcontext.StateCount != 0 {
			num("sockets", s.Now)
			num("sockets peak", s.Max)
			line("sockets limit", socketLimit(s))
			num("limit hits", s.Hits)
		}
		num("binds rewritten", s.Rewritten)
		num("sources set", s.Sources)
		num("denied", s.Denied)
	}
	for i := range n.Listeners {
		l := &n.Listeners[i]
		text := l.Protocol + " " + endpoint(l)
		if l.Any {
			text += " all"
		}
		line("listener", text)
	}
	return b
}

func endpoint(l *netcontext.Listener) string {
	addr := l.Addr.String()
	if !l.Addr.Is4() {
		addr = "[" + addr + "]"
	}
	return addr + ":" + strconv.Itoa(int(l.Port))
}

func appendNetList(b []byte, list []libvserver.NetReport) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNet(b, &list[i])
	}
	return append(b, "]\n"...)
}

func appendNet(b []byte, n *libvserver.NetReport) []byte {
	w := wire.NewWriter(nil, "")
	text := func(key, v string) {
		w.Key(key)
		w.String(v)
	}
	num := func(key string, v uint64) {
		w.Key(key)
		w.Uint(v)
	}
	w.BeginObject()
	num("nid", uint64(n.NID))
	text("id", n.ID)
	text("root", n.Root)
	if n.Gone {
		w.Key("gone")
		w.Bool(true)
	}
	w.Key("addresses")
	w.BeginArray()
	for i := range n.Addresses {
		w.String(n.Addresses[i].String() + "/" + strconv.Itoa(int(n.Addresses[i].Bits)))
	}
	w.EndArray()
	if n.Loopback != [4]byte{} {
		text("loopback", loopbackText(n))
	}
	text("cgroup", n.Cgroup)
	num("netns", n.Netns)
	if s := n.Storage; s != nil {
		if s.State&netcontext.StateCount != 0 {
			w.Key("sockets")
			w.BeginObject()
			num("current", s.Now)
			num("max", s.Max)
			if s.State&netcontext.StateLimit != 0 {
				num("limit", s.Limit)
			}
			num("hits", s.Hits)
			w.EndObject()
		}
		num("bindsRewritten", s.Rewritten)
		num("sourcesSet", s.Sources)
		num("denied", s.Denied)
	}
	if len(n.Listeners) > 0 {
		w.Key("listeners")
		w.BeginArray()
		for i := range n.Listeners {
			l := &n.Listeners[i]
			w.BeginObject()
			text("protocol", l.Protocol)
			text("address", l.Addr.String())
			num("port", uint64(l.Port))
			if l.Any {
				w.Key("all")
				w.Bool(true)
			}
			w.EndObject()
		}
		w.EndArray()
	}
	w.EndObject()
	return append(b, w.Bytes()...)
}
