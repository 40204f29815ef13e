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
	inNetwork(netns, func() {
		for _, tool := range [...]string{"iptables", "ip6tables"} {
			unlockTool(tool)
		}
		if _, ours := lockTables(); ours {
			nft("delete table inet " + lockTable)
		}
	})
}

// takeOverLock puts a lock of ours in the place of the one that a checkpoint with --network-lock nftables has left in a
// network namespace that has outlived it: where CRIU's own is there already, its restore fails. It stays if that fails.
func takeOverLock(netns int) {
	inNetwork(netns, func() {
		criu, ours := lockTables()
		if len(criu) == 0 {
			return
		}
		// One transaction: nobody answers in between.
		script := ""
		if !ours {
			script = "add table inet " + lockTable + "; "
			for _, chain := range [...]string{"input", "output"} {
				at := "inet " + lockTable + " " + chain
				// The mark is that of CRIU's own packets.
				script += "add chain " + at + " { type filter hook " + chain + " priority 0; }; add rule " + at + " meta mark != 0xc114 drop; "
			}
		}
		for _, t := range criu {
			script += "delete table inet " + t + "; "
		}
		nft(script)
	})
}

// lockTable is our table of nftables, while CRIU restores.
const lockTable = "vsrun-lock"

// lockTables finds the tables that lock a network: CRIU's, and whether there is ours.
func lockTables() (criu []string, ours bool) {
	for line := range strings.Lines(nft("list tables")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "table inet "); ok {
			if strings.HasPrefix(name, "CRIU-") {
				criu = append(criu, name)
			}
			ours = ours || name == lockTable
		}
	}
	return criu, ours
}

// nft runs a command of nft(8), if there is one, and returns what it prints.
func nft(command string) string {
	path, err := lookPath("nft")
	if err != nil {
		return ""
	}
	out, err := runProgram(path, []string{"nft", command})
	if err != nil {
		log.Warnf("the network's lock: nft %s: %v: %s", command, err, out)
		return ""
	}
	return out
}

// inNetwork calls a function in a network namespace.
func inNetwork(netns int, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // the thread ends with the goroutine
		if err := unix.Setns(netns, unix.CLONE_NEWNET); err != nil {
			log.Warnf("unlock the network of the checkpoint: setns: %v", err)
			return
		}
		f()
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
