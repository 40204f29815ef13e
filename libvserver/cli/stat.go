package cli

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/vsrun/vsrun/libvserver"
	"github.com/vsrun/vsrun/libvserver/cgroup"
	"github.com/vsrun/vsrun/spec/wire"
)

func statCommand() *command {
	format, watch, limits, interval := "table", false, false, 2*time.Second
	return &command{
		name: "stat", usage: "show what containers use, one line each",
		args: "[container-id...]",
		about: `The stat command shows what each container with processes uses, or each that is
named: the number of processes; memory now, at its highest, and the limit; CPU
time of the user's kind and of the system's, and the share of one CPU since the
start, or with --watch since the line before; for how long the CPU limit has
held it back; threads and how many there may be; what was read from and written
to block devices; and the time since the start. A "-" stands for what the host's
cgroups don't count, or don't limit.

With --limits it shows the limits instead, one a line, as Linux-VServer's
/proc/virtual/XID/limit did: what is used now, the most that ever was, the soft
and the hard limit, and how often the latter was met. The CPU's is in
microseconds of each second; its hits are the periods in which it held.

As JSON it is an array in one line, in bytes and nanoseconds; what is not
counted or not limited is left out.`,
		max: math.MaxInt,
		flags: func(f *flags) {
			f.string(&format, "format, f", "select one of: table or json")
			f.bool(&limits, "limits, l", "show limits, and how often they were met")
			f.bool(&watch, "watch, w", "show it again and again")
			f.duration(&interval, "interval", "how often, with --watch")
		},
		run: func(c *context) (int, error) {
			switch {
			case format != "table" && format != "json":
				return 0, fmt.Errorf("invalid format option %q: table or json", format)
			case interval <= 0:
				return 0, errors.New("--interval must be greater than 0")
			}
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			if limits {
				if watch {
					return 0, errors.New("--limits and --watch exclude each other")
				}
				return 0, c.statLimits(v, format)
			}
			m := meter{stat: v.Stat, ids: c.args}
			for first := true; ; first = false {
				lines, err := m.read()
				if err != nil {
					return 0, err
				}
				var b []byte
				switch {
				case format == "json":
					b = appendLines(nil, lines)
				case watch && terminal(c.stdout):
					b = appendStatTable([]byte(clearScreen), lines)
				case first:
					b = appendStatTable(nil, lines)
				default:
					b = appendStatTable([]byte{'\n'}, lines)
				}
				if err := c.print(b); err != nil || !watch {
					return 0, err
				}
				time.Sleep(interval)
			}
		},
	}
}

// line is what a container uses, and how fast: since the measurement before or, at the first one, since its start.
type line struct {
	libvserver.Stat
	percent     float64 // of one CPU
	read, write float64 // bytes a second, of block devices
}

// meter measures again and again.
type meter struct {
	stat func(ids ...string) ([]libvserver.Stat, error)
	ids  []string
	when time.Time
	last map[life]cgroup.Usage // at when
}

// life tells a container from a later one of the same id.
type life struct {
	id      string
	pid     int
	started uint64
}

func (m *meter) read() ([]line, error) {
	list, err := m.stat(m.ids...)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	since := now.Sub(m.when)
	next := make(map[life]cgroup.Usage, len(list))
	lines := make([]line, len(list))
	for i := range list {
		s := &list[i]
		l := life{s.ID, s.Pid, s.Started}
		next[l] = s.Usage
		before, over := cgroup.Usage{}, s.Uptime
		if u, ok := m.last[l]; ok {
			before, over = u, since
		}
		lines[i].Stat = *s
		if over > 0 {
			lines[i].percent = 100 * float64(s.CPU-before.CPU) / float64(over)
			lines[i].read = float64(s.ReadBytes-before.ReadBytes) / over.Seconds()
			lines[i].write = float64(s.WriteBytes-before.WriteBytes) / over.Seconds()
		}
	}
	m.when, m.last = now, next
	return lines, nil
}

var statColumns = [...]column{{"ID", true}, {"XID", false}, {"STATUS", true}, {"PROCS", false}, {"MEM", false}, {"PEAK", false},
	{"LIMIT", false}, {"USER", false}, {"SYS", false}, {"CPU%", false}, {"THROTTLED", false}, {"THREADS", false}, {"MAX", false},
	{"READ", false}, {"WRITTEN", false}, {"UPTIME", false}}

func (l *line) cells() []string {
	c := []string{l.ID, xidText(l.Xid), string(l.Status), strconv.FormatUint(l.Processes, 10), "-", "-", "-",
		timeText(time.Duration(l.CPUUser)), timeText(time.Duration(l.CPUSystem)), strconv.FormatFloat(l.percent, 'f', 1, 64),
		"-", "-", "-", "-", "-", ageText(l.Uptime)}
	if l.HasMemory {
		c[4], c[6] = bytesText(l.Memory), limitText(l.MemoryLimit, bytesText)
		if l.MemoryPeak != 0 {
			c[5] = bytesText(l.MemoryPeak)
		}
	}
	if l.Throttled != 0 {
		c[10] = timeText(time.Duration(l.ThrottledTime))
	}
	if l.HasTasks {
		c[11], c[12] = strconv.FormatUint(l.Tasks, 10), limitText(l.TasksLimit, func(n uint64) string { return strconv.FormatUint(n, 10) })
	}
	if l.HasIO {
		c[13], c[14] = bytesText(l.ReadBytes), bytesText(l.WriteBytes)
	}
	return c
}

// xidText is a context id.
func xidText(xid uint32) string {
	if xid == 0 {
		return "-"
	}
	return strconv.FormatUint(uint64(xid), 10)
}

func limitText(n uint64, text func(uint64) string) string {
	if n == cgroup.NoLimit {
		return "-"
	}
	return text(n)
}

func appendStatTable(b []byte, lines []line) []byte {
	rows := make([][]string, len(lines))
	for i := range lines {
		rows[i] = lines[i].cells()
	}
	return appendTable(b, statColumns[:], rows)
}

func appendLines(b []byte, lines []line) []byte {
	w := wire.NewWriter(b, "")
	num := func(key string, v uint64) {
		w.Key(key)
		w.Uint(v)
	}
	limit := func(key string, v uint64) {
		if v != cgroup.NoLimit {
			num(key, v)
		}
	}
	w.BeginArray()
	for i := range lines {
		l := &lines[i]
		w.BeginObject()
		w.Key("id")
		w.String(l.ID)
		if l.Xid != 0 {
			num("xid", uint64(l.Xid))
		}
		w.Key("status")
		w.String(string(l.Status))
		num("pid", uint64(l.Pid))
		num("uptime", uint64(max(0, l.Uptime)))
		num("processes", l.Processes)
		w.Key("cpu")
		w.BeginObject()
		num("total", l.CPU)
		num("user", l.CPUUser)
		num("system", l.CPUSystem)
		w.Key("percent")
		w.Float(math.Round(l.percent*100) / 100)
		num("periods", l.Periods)
		num("throttledPeriods", l.Throttled)
		num("throttledTime", l.ThrottledTime)
		w.EndObject()
		if l.HasMemory {
			w.Key("memory")
			w.BeginObject()
			num("usage", l.Memory)
			if l.MemoryPeak != 0 {
				num("max", l.MemoryPeak)
			}
			limit("limit", l.MemoryLimit)
			w.EndObject()
		}
		if l.HasTasks {
			w.Key("pids")
			w.BeginObject()
			num("current", l.Tasks)
			limit("limit", l.TasksLimit)
			w.EndObject()
		}
		if l.HasIO {
			w.Key("io")
			w.BeginObject()
			num("readBytes", l.ReadBytes)
			num("writeBytes", l.WriteBytes)
			num("reads", l.Reads)
			num("writes", l.Writes)
			w.EndObject()
		}
		w.EndObject()
	}
	w.EndArray()
	return append(w.Bytes(), '\n')
}
