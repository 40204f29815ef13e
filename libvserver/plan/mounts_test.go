package plan

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/vsrun/vsrun/spec"
)

// TestMountSteps: what entries of mounts become, on a host where all whose name begins with "link" are symbolic links.
func TestMountSteps(t *testing.T) {
	facts := host(unified)
	facts.Readlink = func(p string) (string, error) {
		if strings.HasPrefix(p[strings.LastIndexByte(p, '/')+1:], "link") {
			return "to/there", nil
		}
		return "", errors.New("no link")
	}
	for _, c := range []struct {
		mounts string
		want   []string
		warns  int
	}{
		{`{"destination":"/a","type":"tmpfs","options":["ro","nosuid","size=1m,mode=700"]}`,
			[]string{"mount tmpfs on /a (nosuid,size=1m,mode=700)", "make the mount on /a read-only"}, 0},
		{`{"destination":"/a","type":"tmpfs","options":["rro","rnosuid"]}`,
			[]string{"mount tmpfs on /a (rnosuid)", "make the mount on /a read-only"}, 0},
		{`{"destination":"/a","type":"tmpfs","options":["ro"]},{"destination":"/a","options":["remount","rw"]}`,
			[]string{"mount tmpfs on /a", "remount on /a (rw)"}, 0},
		{`{"destination":"/a","type":"ext4","source":"/dev/x","options":["ro","iversion","silent","sync","data=journal"]}`,
			[]string{"mount ext4 on /a (ro,sync,iversion,silent,data=journal)"}, 0},
		{`{"destination":"/a","source":"/s","options":["rbind","rro","suid","noatime","rslave","private"]}`,
			[]string{"bind /s on /a (rbind,suid,noatime,rro,rslave,private)"}, 0},
		{`{"destination":"/a","source":"s","options":["bind","sync","lazytime"]}`, []string{"bind /bundle/s on /a"}, 1},
		{`{"destination":"/a","type":"tmpfs","options":["remount","sync","nolazytime","size=2m","rexec"]}`,
			[]string{"remount on /a (rexec,sync,nolazytime,size=2m)"}, 0},
		{`{"destination":"/dev","type":"tmpfs"},{"destination":"/dev","type":"none","options":["bind","remount","ro","noexec"]}`,
			[]string{"mount tmpfs on /dev", "remount on /dev (noexec)", "make the mount on /dev read-only"}, 0},
		{`{"destination":"/a","type":"none","options":["bind","remount","ro","sync"]}`, []string{"remount on /a (ro)"}, 1},
		{`{"destination":"/a","source":"/link","options":["bind","copy-symlink"]}`, []string{"link /a to to/there"}, 0},
		{`{"destination":"/a","source":"/file.x","options":["bind","copy-symlink"]}`, []string{"bind /file.x on /a"}, 0},
		{`{"destination":"/a","source":"/missing/link","options":["bind","src-nofollow"]}`, []string{"bind /missing/link on /a (src-nofollow)"}, 0},
		{`{"destination":"/a","source":"/s","options":["bind","dest-nofollow"]}`, []string{"bind /s on /a (dest-nofollow)"}, 0},
	} {
		b := parse(t, head+`"mounts":[`+c.mounts+`],"linux":{"namespaces":[{"type":"mount"}]}}`)
		p, err := Build(b, facts, &Options{ID: "ID"})
		if err != nil {
			t.Errorf("%s: %v", c.mounts, err)
			continue
		}
		var got []string
		for _, s := range p.Steps {
			if strings.HasPrefix(s.At(), "mounts[") {
				got = append(got, s.String())
			}
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.mounts, d)
		}
		if len(p.Warnings) != c.warns {
			t.Errorf("%s: warnings %q", c.mounts, p.Warnings)
		}
	}
}

// TestMountFaults: options that come together and can't.
func TestMountFaults(t *testing.T) {
	for _, c := range []struct{ mount, want string }{
		{`{"destination":"/a","type":"tmpfs","options":["remount","tmpcopyup"]}`, "mounts[0].options: tmpcopyup"},
		{`{"destination":"/a","type":"tmpfs","options":["remount","iversion"]}`, "mounts[0].options: iversion"},
		{`{"destination":"/a","type":"tmpfs","options":["copy-symlink"]}`, "mounts[0].options: copy-symlink"},
		{`{"destination":"/a","type":"tmpfs","options":["src-nofollow"]}`, "mounts[0].options: src-nofollow"},
	} {
		b, err := spec.Parse([]byte(head+`"mounts":[`+c.mount+`],"linux":{"namespaces":[{"type":"mount"}]}}`), "/bundle")
		if err == nil {
			_, err = Build(b, host(unified), &Options{ID: "ID"})
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.mount, err, c.want)
		}
	}
}

// TestDevicesInUserNamespace: who makes which node, and for whom.
func TestDevicesInUserNamespace(t *testing.T) {
	const maps = `[{"containerID":0,"hostID":100000,"size":1000}]`
	facts := host(unified)
	facts.Stat = func(p string) (uint32, error) {
		if p == "/dev/there" {
			return 0o020666, nil
		}
		return 0, errors.New("no such file")
	}
	for _, c := range []struct{ device, want string }{
		{`{"path":"/dev/there","type":"c","major":9,"minor":1}`, "bind the host's /dev/there"},
		{`{"path":"/dev/there","type":"b","major":9,"minor":1}`, "bind block device 9:1 of the runtime's making on /dev/there"},
		{`{"path":"/dev/there","type":"c","major":9,"minor":1,"uid":5}`, "bind character device 9:1 of the runtime's making on /dev/there"},
		{`{"path":"/dev/other","type":"u","major":9,"minor":1}`, "bind character device 9:1 of the runtime's making on /dev/other"},
		{`{"path":"/dev/fifo","type":"p","uid":5}`, "make fifo /dev/fifo"},
	} {
		b := parse(t, head+`"linux":{"namespaces":[{"type":"mount"},{"type":"user"}],"uidMappings":`+maps+`,"gidMappings":`+maps+`,"devices":[`+c.device+`]}}`)
		p, err := Build(b, facts, &Options{ID: "ID"})
		if err != nil {
			t.Errorf("%s: %v", c.device, err)
			continue
		}
		for _, s := range p.Steps {
			d, ok := s.(Device)
			if !ok || d.At() != "linux.devices[0]" {
				continue
			}
			if d.String() != c.want {
				t.Errorf("%s: %s, want %s", c.device, d, c.want)
			}
			if d.FromParent && d.HostUID != 100000+d.UID {
				t.Errorf("%s: owner %d on the host", c.device, d.HostUID)
			}
		}
	}
}
