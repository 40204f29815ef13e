//go:build faults

package fault

import (
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// On tells a test build from the product.
const On = true

// Action is what is to happen at a place.
type Action struct {
	Kill, Die bool
	Errno     unix.Errno
}

var (
	mu   sync.Mutex
	seen = map[string]int{}
)

// At is a point.
func At(p Point) bool {
	if _, ok := Reach("point", p.String(), ""); ok {
		Die()
	}
	return true
}

// Reach notes that a place is there, and returns what is to happen at it. note is for the reader of the trace.
func Reach(kind, name, note string) (Action, bool) {
	mu.Lock()
	seen[kind+":"+name]++
	name += "#" + strconv.Itoa(seen[kind+":"+name])
	mu.Unlock()
	if file := os.Getenv(Trace); file != "" {
		if f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_CLOEXEC, 0o600); err == nil {
			_, _ = f.WriteString(kind + ":" + name + "\t" + note + "\n")
			f.Close()
		}
	}
	for order := range strings.SplitSeq(os.Getenv(Orders), ",") {
		place, action, _ := strings.Cut(order, "=")
		if !strings.Contains(place, "#") {
			place += "#1"
		}
		if place != kind+":"+name {
			continue
		}
		switch action {
		case "kill":
			return Action{Kill: true}, true
		case "die":
			return Action{Die: true}, true
		}
		n, err := strconv.Atoi(action)
		if err != nil {
			panic("bad order " + order)
		}
		return Action{Errno: unix.Errno(n)}, true
	}
	return Action{}, false
}

// Die ends the process as nothing can prevent.
func Die() {
	_ = unix.Kill(os.Getpid(), unix.SIGKILL)
	select {}
}
