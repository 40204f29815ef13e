package libvserver

import (
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/log"
)

// unlockAgain removes what the checkpoint has left in a network namespace that has outlived it. CRIU locks the network
// there at the checkpoint, so that nobody answers for the container, and once more at the restore; then it unlocks it
// once, which fails for the first lock. It is to be called before that. Errors are warnings: there may be no packet
// filter at all.
func unlockAgain(netns int) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
			log.Warnf("unlock the network of the checkpoint: setns: %v", err)
			return
		}
		for _, tool := range [...]string{"iptables", "ip6tables"} {
			unlockTool(tool)
		}
	}()
	<-done
}

// unlockTool leaves one jump to CRIU's chain in each chain that has more.
func unlockTool(tool string) {
	save, err := lookPath(tool + "-save")
	if err != nil {
		return
	}
	rules, err := runProgram(save, []string{tool + "-save", "-t", "filter"})
	if err != nil {
		log.Debugf("%s-save: %v: %s", tool, err, rules)
		return
	}
	path, err := lookPath(tool)
	if err != nil {
		return
	}
	for _, chain := range [...]string{"INPUT", "OUTPUT"} {
		for range strings.Count(rules+"\n", "-A "+chain+" -j CRIU\n") - 1 {
			if out, err := runProgram(path, []string{tool, "-w", "-D", chain, "-j", "CRIU"}); err != nil {
				log.Warnf("unlock the network of the checkpoint: %s: %v: %s", tool, err, out)
				return
			}
		}
	}
}
