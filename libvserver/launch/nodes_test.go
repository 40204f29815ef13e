package launch

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// TestNodes: the mounts of single nodes, made directly and by way of a mount namespace, as before Linux 6.15.
func TestNodes(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mknod and mounts")
	}
	inside := func(fs int, names []int) (fds []int, err error) {
		ownThread(func() { fds, err = cloneInside(fs, names) })
		return fds, err
	}
	for name, clone := range map[string]func(int, []int) ([]int, error){"as the kernel has it": cloneNodes, "inside": inside} {
		t.Run(name, func(t *testing.T) {
			before := mounts(t)
			fs, err := nodeFS("")
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(fs)
			nodes := []plan.Device{
				{Mode: unix.S_IFCHR | 0o640, Major: 1, Minor: 3, HostUID: 100000, HostGID: 100005},
				{Mode: unix.S_IFBLK | 0o2666, Major: 7, Minor: 300},
			}
			for i := range nodes {
				if err := makeNode(fs, []string{"4", "9"}[i], &nodes[i]); err == unix.EPERM {
					t.Skip("needs CAP_MKNOD, and a cgroup that allows devices to be made")
				} else if err != nil {
					t.Fatal(err)
				}
			}
			fds, err := clone(fs, []int{4, 9})
			if err != nil {
				t.Fatal(err)
			}
			for i, fd := range fds {
				var st unix.Stat_t
				if err := unix.Fstat(fd, &st); err != nil {
					t.Fatal(err)
				}
				unix.Close(fd)
				n := &nodes[i]
				if st.Mode != n.Mode || st.Rdev != unix.Mkdev(n.Major, n.Minor) || st.Uid != n.HostUID || st.Gid != n.HostGID {
					t.Errorf("node %d: mode %o, device %x, owner %d:%d", i, st.Mode, st.Rdev, st.Uid, st.Gid)
				}
			}
			if _, err := clone(fs, []int{5}); err == nil {
				t.Error("a node that is not there was opened")
			}
			if after := mounts(t); after != before {
				t.Errorf("the test's own mounts were\n%sand are\n%s", before, after)
			}
		})
	}
}

func mounts(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
