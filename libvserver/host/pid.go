package host

import (
	"os"
	"strconv"
	"strings"
)

// PIDInside is a process's pid in the innermost namespace it is in (NSpid, proc_pid_status(5), Linux 4.1); pid itself where that
// can't be read.
func PIDInside(pid int) int { return lastNumber(pid, "NSpid:") }

// ProcessOf is the process that a thread belongs to (Tgid, proc_pid_status(5)); tid itself where that can't be read.
func ProcessOf(tid int) int { return lastNumber(tid, "Tgid:") }

// lastNumber is the last number of a line of a process's status file, pid if there is none.
func lastNumber(pid int, name string) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return pid
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			f := strings.Fields(rest)
			n, _ := strconv.Atoi(f[len(f)-1])
			return n
		}
	}
	return pid
}
