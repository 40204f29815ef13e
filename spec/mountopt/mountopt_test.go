package mountopt

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestTableIsSorted(t *testing.T) {
	names := Known()
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("not in order or not unique: %q", names)
	}
	for _, n := range names {
		if o := lookup(n); o == nil || o.name != n {
			t.Errorf("%s is not found", n)
		}
	}
}

// The options that config.md of runtime-spec 1.3 lists, all of them.
func TestSpecTable(t *testing.T) {
	for _, n := range []string{
		"async", "atime", "bind", "defaults", "dev", "diratime", "dirsync", "exec", "iversion", "lazytime", "loud", "mand", "noatime", "nodev",
		"nodiratime", "noexec", "noiversion", "nolazytime", "nomand", "norelatime", "nostrictatime", "nosuid", "nosymfollow", "private", "ratime",
		"rbind", "rdev", "rdiratime", "relatime", "remount", "rexec", "rnoatime", "rnodiratime", "rnoexec", "rnorelatime", "rnostrictatime",
		"rnosuid", "rnosymfollow", "ro", "rprivate", "rrelatime", "rro", "rrw", "rshared", "rslave", "rstrictatime", "rsuid", "rsymfollow",
		"runbindable", "rw", "shared", "silent", "slave", "strictatime", "suid", "symfollow", "sync", "tmpcopyup", "unbindable", "idmap", "ridmap",
	} {
		if o := Parse([]string{n}); len(o.Data) > 0 {
			t.Errorf("%s is not known", n)
		}
	}
}

func TestParse(t *testing.T) {
	const rec = unix.MS_REC
	tests := []struct {
		name string
		in   []string
		want Options
	}{
		{"none", nil, Options{}},
		{"empty string", []string{""}, Options{}},
		{"defaults mean nothing", []string{"defaults"}, Options{}},
		{"runc's /dev", []string{"nosuid", "strictatime", "mode=755", "size=65536k"},
			Options{Flags: unix.MS_NOSUID | unix.MS_STRICTATIME, Data: []string{"mode=755", "size=65536k"}}},
		{"docker's bind", []string{"rbind", "rprivate", "ro"},
			Options{Flags: unix.MS_BIND | rec | unix.MS_RDONLY, Propagation: []uint{unix.MS_PRIVATE | rec}}},
		{"later wins: set", []string{"rw", "ro"}, Options{Flags: unix.MS_RDONLY}},
		{"later wins: clear", []string{"ro", "noexec", "rw", "exec"}, Options{Cleared: unix.MS_RDONLY | unix.MS_NOEXEC}},
		{"each clearing option", []string{"async", "atime", "dev", "diratime", "exec", "loud", "noiversion", "nolazytime", "nomand", "norelatime", "nostrictatime", "rw", "suid", "symfollow"},
			Options{Cleared: unix.MS_SYNCHRONOUS | unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NODIRATIME | unix.MS_NOEXEC | unix.MS_SILENT | unix.MS_I_VERSION |
				unix.MS_LAZYTIME | unix.MS_MANDLOCK | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOSYMFOLLOW}},
		{"each setting option", []string{"sync", "noatime", "nodev", "nodiratime", "dirsync", "noexec", "silent", "iversion", "lazytime", "mand", "relatime", "strictatime", "ro", "nosuid", "nosymfollow", "remount", "bind"},
			Options{Flags: unix.MS_SYNCHRONOUS | unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NODIRATIME | unix.MS_DIRSYNC | unix.MS_NOEXEC | unix.MS_SILENT | unix.MS_I_VERSION |
				unix.MS_LAZYTIME | unix.MS_MANDLOCK | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NOSYMFOLLOW | unix.MS_REMOUNT | unix.MS_BIND}},
		{"propagation in order", []string{"shared", "rslave", "unbindable", "rshared", "slave", "private", "runbindable", "rprivate"},
			Options{Propagation: []uint{unix.MS_SHARED, unix.MS_SLAVE | rec, unix.MS_UNBINDABLE, unix.MS_SHARED | rec, unix.MS_SLAVE, unix.MS_PRIVATE, unix.MS_UNBINDABLE | rec, unix.MS_PRIVATE | rec}}},
		{"recursive set", []string{"rro", "rnosuid", "rnodev", "rnoexec", "rnodiratime", "rnosymfollow"},
			Options{RecAttrSet: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODIRATIME | unix.MOUNT_ATTR_NOSYMFOLLOW}},
		{"recursive clear", []string{"rrw", "rsuid", "rdev", "rexec", "rdiratime", "rsymfollow"},
			Options{RecAttrClr: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODIRATIME | unix.MOUNT_ATTR_NOSYMFOLLOW}},
		{"recursive, later wins", []string{"rro", "rrw", "rsuid", "rnosuid"}, Options{RecAttrSet: unix.MOUNT_ATTR_NOSUID, RecAttrClr: unix.MOUNT_ATTR_RDONLY}},
		{"rnoatime clears the field", []string{"rnoatime"}, Options{RecAttrSet: unix.MOUNT_ATTR_NOATIME, RecAttrClr: unix.MOUNT_ATTR__ATIME}},
		{"rstrictatime clears the field", []string{"rstrictatime"}, Options{RecAttrSet: unix.MOUNT_ATTR_STRICTATIME, RecAttrClr: unix.MOUNT_ATTR__ATIME}},
		{"rrelatime clears the field", []string{"rrelatime"}, Options{RecAttrClr: unix.MOUNT_ATTR__ATIME}},
		{"ratime clears the field", []string{"ratime"}, Options{RecAttrClr: unix.MOUNT_ATTR__ATIME}},
		{"rnorelatime clears the field", []string{"rnorelatime"}, Options{RecAttrClr: unix.MOUNT_ATTR__ATIME}},
		{"rnostrictatime clears the field", []string{"rnostrictatime"}, Options{RecAttrClr: unix.MOUNT_ATTR__ATIME}},
		{"one access time mode", []string{"rnoatime", "rro", "rstrictatime"}, Options{RecAttrSet: unix.MOUNT_ATTR_STRICTATIME | unix.MOUNT_ATTR_RDONLY, RecAttrClr: unix.MOUNT_ATTR__ATIME}},
		{"access time mode, relative again", []string{"rnoatime", "rrelatime"}, Options{RecAttrClr: unix.MOUNT_ATTR__ATIME}},
		{"idmap", []string{"idmap"}, Options{IDMap: true}},
		{"ridmap", []string{"ridmap"}, Options{IDMap: true, RecursiveIDMap: true}},
		{"later idmap wins", []string{"ridmap", "idmap"}, Options{IDMap: true}},
		{"extensions", []string{"tmpcopyup", "copy-symlink", "src-nofollow", "dest-nofollow"}, Options{TmpCopyUp: true, CopySymlink: true, SrcNoFollow: true, DestNoFollow: true}},
		{"unknown in order", []string{"z", "ro", "a=b", "RO", "rbind "}, Options{Flags: unix.MS_RDONLY, Data: []string{"z", "a=b", "RO", "rbind "}}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, Parse(tt.in)); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, diff)
		}
	}
}

func TestHelpers(t *testing.T) {
	if o := Parse([]string{"rbind"}); !o.IsBind() || o.IsRemount() {
		t.Error("rbind")
	}
	if o := Parse([]string{"remount", "ro"}); o.IsBind() || !o.IsRemount() {
		t.Error("remount")
	}
	if f, ok := PropagationFlags("rslave"); !ok || f != unix.MS_SLAVE|unix.MS_REC {
		t.Error("rslave", f, ok)
	}
	for _, n := range []string{"", "ro", "nosuch"} {
		if _, ok := PropagationFlags(n); ok {
			t.Errorf("%q is no propagation", n)
		}
	}
}
