//go:build !amd64 && !arm64

package forward

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

var incoming chan os.Signal

// Start takes the signals over. Until To is called they wait. Signals in except are left alone.
func Start(except ...unix.Signal) error {
	incoming = make(chan os.Signal, 2*lastSignal)
	var list []os.Signal
next:
	for s := unix.Signal(1); s <= lastSignal; s++ {
		for _, e := range except {
			if s == e {
				continue next
			}
		}
		if forwarded(s) && !signal.Ignored(s) {
			list = append(list, s)
		}
	}
	signal.Notify(incoming, list...)
	return nil
}

// To sends what has come so far, and all that comes from now on, to a process.
func To(pidfd int) {
	go func() {
		for s := range incoming {
			if s, ok := s.(unix.Signal); ok {
				_ = unix.PidfdSendSignal(pidfd, s, nil, 0)
			}
		}
	}()
}
