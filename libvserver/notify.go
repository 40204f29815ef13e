package libvserver

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/libvserver/state"
)

// The sd_notify(3) proxy: the container's service manager protocol ends at a socket in a directory of its own, which is
// mounted on /run/notify, and vsrun passes on READY=1 with the main process's pid, which only the host can know.

const (
	notifyDir  = "notify"
	notifyName = "notify.sock"
)

// notifySocket arranges for the proxy if the caller is a service with Type=notify.
func (n *creation) notifySocket() error {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	n.opt.NotifyDir = filepath.Join(n.r.Store.Path(n.o.ID), notifyDir)
	n.opt.Env = append(n.opt.Env, "NOTIFY_SOCKET=/run/notify/"+notifyName)
	return nil
}

// makeNotifyDir makes the directory that is mounted in the container.
func (c *container) makeNotifyDir() error {
	if err := unix.Mkdirat(c.dir.FD(), notifyDir, 0o755); err != nil {
		return fmt.Errorf("make %s: %w", notifyDir, err)
	}
	return nil
}

// listenNotify makes the socket that the container sees.
func (c *container) listenNotify() error {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	name := "/proc/self/fd/" + itoa(c.dir.FD()) + "/" + notifyDir + "/" + notifyName
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: name}); err != nil {
		unix.Close(fd)
		return fmt.Errorf("bind %s: %w", notifyName, err)
	}
	if err := openToAll(name); err != nil { // the container's user may be any
		unix.Close(fd)
		return fmt.Errorf("chmod %s: %w", notifyName, err)
	}
	c.notify = fd
	return nil
}

// openToAll lets everybody write to a socket. Where a container has the privileges to change the directory, it may have put
// something else there meanwhile.
func openToAll(name string) error {
	fd, err := unix.Open(name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return unix.ENOTSOCK
	}
	return unix.Chmod("/proc/self/fd/"+itoa(fd), 0o777)
}

// notifyProxy passes messages on until the container is ready or gone. main is the process that the service manager is to
// watch from then on.
func (c *container) notifyProxy(main int) error {
	if c.notify <= 0 {
		return nil
	}
	defer unix.Close(c.notify)
	host, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: socket: %w", err)
	}
	defer unix.Close(host)
	name := os.Getenv("NOTIFY_SOCKET")
	if strings.HasPrefix(name, "@") {
		name = "\x00" + name[1:]
	}
	if err := unix.Connect(host, &unix.SockaddrUnix{Name: name}); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: connect: %w", err)
	}
	buf := make([]byte, 4096)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.notify), Events: unix.POLLIN}}, 100)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("the container's NOTIFY_SOCKET: poll: %w", err)
		}
		if n > 0 {
			k, err := unix.Read(c.notify, buf)
			if err != nil {
				return fmt.Errorf("the container's NOTIFY_SOCKET: read: %w", err)
			}
			for line := range strings.SplitSeq(string(buf[:k]), "\n") {
				if strings.HasPrefix(line, "READY=") {
					if err := forwardReady(host, line, main); err != nil {
						return err
					}
					log.Debugf("container %s is ready", c.rec.ID)
					return barrier(host)
				}
			}
			continue
		}
		if !state.Alive(c.rec.InitPid, c.rec.InitStart) { // which a zombie, of a detached run, is not
			return nil
		}
	}
}

// tellReady is the proxy for run: the container runs, and does so if its service manager can't be told of it. That one sees to
// a service that does not become ready.
func (c *container) tellReady(main int) {
	if err := c.notifyProxy(main); err != nil {
		log.Warnf("container %s: its service manager is not told when it is ready: %v", c.rec.ID, err)
	}
}

func forwardReady(host int, line string, pid int) error {
	if _, err := unix.Write(host, []byte(line+"\n")); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: write: %w", err)
	}
	if _, err := unix.Write(host, []byte("MAINPID="+itoa(pid)+"\n")); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: write: %w", err)
	}
	return nil
}

// barrier waits until the service manager has read what it was sent (sd_notify_barrier(3)): messages of a sender that is gone,
// as the runtime is about to be, it can't tell the service of.
func barrier(host int) error {
	const patience = 30 * time.Second // runc's
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", os.NewSyscallError("pipe2", err))
	}
	defer unix.Close(p[0])
	err := unix.Sendmsg(host, []byte("BARRIER=1"), unix.UnixRights(p[1]), nil, unix.MSG_NOSIGNAL)
	unix.Close(p[1])
	if err != nil {
		return fmt.Errorf("NOTIFY_SOCKET: %w", os.NewSyscallError("sendmsg", err))
	}
	for end := time.Now().Add(patience); ; {
		left := time.Until(end)
		if left <= 0 {
			log.Warnf("NOTIFY_SOCKET: the service manager has not answered within %s: it may not know BARRIER=1", patience)
			return nil
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(p[0])}}, int(left/time.Millisecond)+1) // POLLHUP: nobody has the other end
		if n > 0 {
			return nil
		}
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("NOTIFY_SOCKET: poll: %w", err)
		}
	}
}
