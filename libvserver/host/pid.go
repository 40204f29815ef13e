package host

import (
	"os"
	"strconv"
	"strings"
)

// PIDInside is a process's pid in the innermost namespace it is in (NSpid, proc_pid_status(5), Linux 4.1); pid itself where that
// can't be read.
func PIDInside(pid int) int {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return pid
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "NSpid:"); ok {
			f := strings.Fields(rest)
			n, _ := strconv.Atoi(f[len(f)-1])
			return n
		}
	}
	return pid
}
