package cli

import (
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/spec/wire"
)

// psAll shows every process of every container.
func (c *context) psAll(v verbs, format string) error {
	list, err := v.Processes()
	if err != nil {
		return err
	}
	if format == "json" {
		return c.print(appendProcesses(nil, list))
	}
	return c.print(appendProcessTable(nil, list, time.Now()))
}

// appendProcessTable prints the columns of ps -ef and, after the pid, the context id, the container and the pid in it.
func appendProcessTable(b []byte, list []libvserver.Process, now time.Time) []byte {
	columns := []column{{"UID", true}, {"PID", false}, {"XID", false}, {"CONTAINER", true}, {"NSPID", false}, {"PPID", false},
		{"S", true}, {"RSS", false}, {"STIME", false}, {"TTY", true}, {"TIME", false}, {"CMD", true}}
	rows := make([][]string, len(list))
	for i := range list {
		p := &list[i]
		rows[i] = []string{strings.TrimPrefix(p.User, "#"), strconv.Itoa(p.PID), xidText(p.Xid), p.Container, strconv.Itoa(p.NSPID),
			strconv.Itoa(p.PPID), string(rune(p.State)), bytesText(p.RSS), startText(p.Start, now), ttyText(p.TTY),
			timeText(p.CPU), printable(p.Command)}
	}
	return appendTable(b, columns, rows)
}

// startText is ps's STIME: the time of today, else the day, else the year.
func startText(t, now time.Time) string {
	switch {
	case now.Sub(t) < 24*time.Hour:
		return t.Format("15:04")
	case t.Year() == now.Year():
		return t.Format("Jan02")
	default:
		return t.Format("2006")
	}
}

// ttyText names a controlling terminal by its device number (proc_pid_stat(5), field 7).
func ttyText(dev uint32) string {
	major, minor := dev>>8&0xfff, dev&0xff|dev>>12&0xfff00
	switch {
	case dev == 0:
		return "?"
	case major >= 136 && major < 144: // Unix98 pseudoterminals, devices.txt
		return "pts/" + strconv.Itoa(int((major-136)<<20+minor))
	case major == 4 && minor < 64:
		return "tty" + strconv.Itoa(int(minor))
	case major == 4:
		return "ttyS" + strconv.Itoa(int(minor-64))
	default:
		return strconv.Itoa(int(major)) + ":" + strconv.Itoa(int(minor))
	}
}

// printable keeps a program from writing to the terminal by its name.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

func appendProcesses(b []byte, list []libvserver.Process) []byte {
	w := wire.NewWriter(b, "")
	w.BeginArray()
	for i := range list {
		p := &list[i]
		w.BeginObject()
		w.Key("container")
		w.String(p.Container)
		if p.Xid != 0 {
			w.Key("xid")
			w.Uint(uint64(p.Xid))
		}
		w.Key("pid")
		w.Int(int64(p.PID))
		w.Key("nspid")
		w.Int(int64(p.NSPID))
		w.Key("ppid")
		w.Int(int64(p.PPID))
		w.Key("uid")
		w.Uint(uint64(p.UID))
		w.Key("state")
		w.String(string(rune(p.State)))
		w.Key("threads")
		w.Int(int64(p.Threads))
		w.Key("rss")
		w.Uint(p.RSS)
		w.Key("started")
		w.String(p.Start.UTC().Format(time.RFC3339))
		w.Key("cpuNanoseconds")
		w.Int(int64(p.CPU))
		w.Key("command")
		w.String(p.Command)
		w.EndObject()
	}
	w.EndArray()
	return append(w.Bytes(), '\n')
}
