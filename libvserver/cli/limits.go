package cli

import (
	"strconv"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/spec/wire"
)

// statLimits shows limits and what was met of them.
func (c *context) statLimits(v verbs, format string) error {
	list, err := v.Limits(c.args...)
	if err != nil {
		return err
	}
	if format == "json" {
		return c.print(appendLimits(nil, list))
	}
	return c.print(appendLimitTable(nil, list))
}

func appendLimitTable(b []byte, list []libvserver.LimitReport) []byte {
	columns := []column{{"ID", true}, {"XID", false}, {"LIMIT", true}, {"CURRENT", false}, {"PEAK", false}, {"SOFT", false}, {"HARD", false}, {"HITS", false}}
	var rows [][]string
	for i := range list {
		for _, l := range list[i].Limits {
			text := func(n uint64) string { return strconv.FormatUint(n, 10) }
			if l.Unit == "bytes" {
				text = bytesText
			}
			used := func(n uint64) string {
				if n == 0 && l.Current == 0 {
					return "-"
				}
				return text(n)
			}
			rows = append(rows, []string{list[i].ID, xidText(list[i].Xid), l.Name, used(l.Current), used(l.Peak),
				limitText(l.Soft, text), limitText(l.Hard, text), strconv.FormatUint(l.Hits, 10)})
		}
	}
	return appendTable(b, columns, rows)
}

func appendLimits(b []byte, list []libvserver.LimitReport) []byte {
	w := wire.NewWriter(b, "")
	number := func(key string, n, none uint64) {
		if n != none {
			w.Key(key)
			w.Uint(n)
		}
	}
	w.BeginArray()
	for i := range list {
		w.BeginObject()
		w.Key("id")
		w.String(list[i].ID)
		number("xid", uint64(list[i].Xid), 0)
		w.Key("limits")
		w.BeginArray()
		for _, l := range list[i].Limits {
			w.BeginObject()
			w.Key("name")
			w.String(l.Name)
			w.Key("unit")
			w.String(l.Unit)
			number("current", l.Current, 0)
			number("max", l.Peak, 0)
			number("soft", l.Soft, cgroup.NoLimit)
			number("hard", l.Hard, cgroup.NoLimit)
			w.Key("hits")
			w.Uint(l.Hits)
			w.EndObject()
		}
		w.EndArray()
		w.EndObject()
	}
	w.EndArray()
	return append(w.Bytes(), '\n')
}
