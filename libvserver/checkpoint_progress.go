package libvserver

import (
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
)

// watch tells o.Progress how far CRIU is until the function that it returns is called, which tells the end. CRIU says
// nothing while it works; the length of its files of pages does.
func (p *checkpoint) watch() (stop func(*proto.Stats)) {
	if p.o.Progress == nil {
		return func(*proto.Stats) {}
	}
	begin, total, page := time.Now(), p.pages(), uint64(os.Getpagesize())
	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ended:
				return
			case <-tick.C:
				done := min(pagesLength(p.dirs.imagesFD)/page, total)
				p.o.Progress(Dumped{Pages: done, Total: total, Elapsed: time.Since(begin)})
			}
		}
	})
	return func(s *proto.Stats) {
		close(ended)
		wg.Wait()
		if s != nil {
			p.o.Progress(Dumped{
				Pages: s.PagesWritten, Total: s.PagesWritten, Elapsed: time.Since(begin), Done: true,
				Frozen: time.Duration(s.FrozenTime) * time.Microsecond, Skipped: s.PagesSkipped,
			})
		}
	}
}

// pages estimates what there is to dump: memory that no file holds (RssAnon and RssShmem, proc_pid_status(5)).
func (p *checkpoint) pages() (n uint64) {
	pids, err := p.pids()
	if err != nil {
		return 0
	}
	for _, pid := range pids {
		b, err := os.ReadFile("/proc/" + itoa(pid) + "/status")
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			key, val, _ := strings.Cut(line, ":")
			if key == "RssAnon" || key == "RssShmem" {
				kb, _, _ := strings.Cut(strings.TrimSpace(val), " ")
				n += uint64(atoi(kb)) << 10
			}
		}
	}
	return n / uint64(os.Getpagesize())
}

// pagesLength is the length of all files of pages in the directory of images, in bytes.
func pagesLength(dir int) (n uint64) {
	fd, err := unix.Openat(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	f := os.NewFile(uintptr(fd), "images")
	defer f.Close()
	names, _ := f.Readdirnames(-1)
	for _, name := range names {
		if !strings.HasPrefix(name, "pages-") {
			continue
		}
		var st unix.Stat_t
		if unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			n += uint64(st.Size)
		}
	}
	return n
}
