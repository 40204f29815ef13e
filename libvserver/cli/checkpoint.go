package cli

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/vsrun/vsrun/libvserver"
)

func checkpointCommand() *command {
	o := libvserver.CheckpointOptions{StatusFD: -1}
	return &command{
		name: "checkpoint", usage: "checkpoint a running container",
		args: "<container-id>", notes: `Where "<container-id>" is the name for the instance of the container to be
checkpointed.`,
		about: `The checkpoint command saves the state of the container instance, by CRIU, and
removes the container unless it is to be left running.`,
		min: 1, max: 1,
		flags: func(f *flags) {
			f.string(&o.ImagePath, "image-path", "path for saving criu image files")
			f.string(&o.WorkPath, "work-path", "path for saving work files and logs")
			f.string(&o.ParentPath, "parent-path", "path for previous criu image files in pre-dump")
			f.bool(&o.LeaveRunning, "leave-running", "leave the process running after checkpointing")
			f.bool(&o.TCPSkipInFlight, "tcp-skip-in-flight", "skip in-flight tcp connections")
			f.bool(&o.LinkRemap, "link-remap", "allow one to link unlinked files back when possible")
			f.value((*descriptor)(&o.StatusFD), "status-fd", `criu writes \0 to this FD once lazy-pages is ready`)
			f.string(&o.PageServer, "page-server", "ADDRESS:PORT of the page server")
			f.bool(&o.PreDump, "pre-dump", "dump container's memory information only, leave the container running after this")
			criuFlags(f, &o.CriuOptions)
		},
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			o.ID = c.args[0]
			if terminal(os.Stderr) {
				o.Progress = func(d libvserver.Dumped) { _, _ = os.Stderr.WriteString(progressLine(&d)) }
			}
			return 0, v.Checkpoint(&o)
		},
	}
}

// criuFlags are the flags that checkpoint and restore have in common.
func criuFlags(f *flags, o *libvserver.CriuOptions) {
	f.bool(&o.TCPEstablished, "tcp-established", "allow open tcp connections")
	f.bool(&o.ExtUnixSk, "ext-unix-sk", "allow external unix sockets")
	f.bool(&o.ShellJob, "shell-job", "allow shell jobs")
	f.bool(&o.LazyPages, "lazy-pages", "use userfaultfd to lazily restore memory pages")
	f.bool(&o.FileLocks, "file-locks", "handle file locks, for safety")
	f.string(&o.ManageCgroupsMode, "manage-cgroups-mode", "cgroups mode: soft|full|strict|ignore (default: soft)")
	f.string(&o.NetworkLock, "network-lock", "how the network is locked meanwhile: iptables|nftables|skip (default: iptables)")
	f.list(&o.EmptyNS, "empty-ns", "create a namespace, but don't restore its properties")
	f.bool(&o.AutoDedup, "auto-dedup", "enable auto deduplication of memory images")
}

// progressLine is what a terminal shows while a checkpoint goes on, and after it.
func progressLine(d *libvserver.Dumped) string {
	seconds := func(t time.Duration) string { return strconv.FormatFloat(t.Seconds(), 'f', 2, 64) + " s" }
	if d.Done {
		s := fmt.Sprintf("\r\x1b[K%d pages dumped", d.Pages)
		if d.Skipped > 0 {
			s += fmt.Sprintf(", %d unchanged", d.Skipped)
		}
		s += " in " + seconds(d.Elapsed)
		if d.Frozen > 0 {
			s += ", the container stood still for " + seconds(d.Frozen)
		}
		return s + "\n"
	}
	return fmt.Sprintf("\r\x1b[K%d of %d pages dumped, %s", d.Pages, d.Total, seconds(d.Elapsed))
}

// descriptor is a number of a file descriptor, -1 for none.
type descriptor int

func (d *descriptor) Set(s string) error {
	n, err := strconv.ParseInt(s, 0, 32)
	if err != nil {
		return fmt.Errorf("not the number of a descriptor")
	}
	*d = descriptor(n)
	return nil
}
