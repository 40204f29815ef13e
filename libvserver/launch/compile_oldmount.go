package launch

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/plan"
)

// maxOption is the longest value that fsconfig(2) takes as a string, in bytes (strndup_user in fs/fsopen.c).
const maxOption = 255

// pageSize bounds the options of mount(2) with their NUL, in bytes: the least that a page has.
const pageSize = 4096

// tooLong tells if an option's name or value is longer than fsconfig(2) takes.
func tooLong(option string) bool {
	key, value, _ := strings.Cut(option, "=")
	return max(len(key), len(value)) > maxOption
}

// filesystem makes a new filesystem and leaves its mount in m; attached tells if it is in its place already.
//
// fsconfig(2) has no words for some flags, and no room for a long option as overlay's lowerdir is: then mount(2) serves.
// What not even that has room for, overlay takes layer by layer (Linux 6.5).
func (c *compiler) filesystem(s plan.Mount, target slot, how uintptr, m slot) (attached bool, err error) {
	old := slices.Contains(s.SuperFlags, "iversion") || slices.Contains(s.SuperFlags, "silent") || len(s.Source) > maxOption
	for _, o := range s.Data {
		old = old || tooLong(o)
	}
	if !old {
		c.newFS(s, m)
		return false, nil
	}
	if s.Fallback != "" {
		return false, errors.New("an option is too long")
	}
	data := oldData(s.Data)
	if len(data) < pageSize {
		c.oldMount(s, data, target, how, m)
		return true, nil
	}
	if s.Type != "overlay" {
		return false, fmt.Errorf("options of %d bytes are longer than mount(2) takes (%d bytes)", len(data), pageSize-1)
	}
	if s.Data, err = layers(s.Data); err != nil {
		return false, err
	}
	c.newFS(s, m)
	return false, nil
}

// oldData is options as mount(2) takes them. There the commas of a label (plan has taken its quotes away) need quotes.
func oldData(options []string) string {
	list := slices.Clone(options)
	for i, o := range list {
		if key, value, _ := strings.Cut(o, "="); strings.HasSuffix(key, "context") && strings.Contains(value, ",") {
			list[i] = key + `="` + value + `"`
		}
	}
	return strings.Join(list, ",")
}

// oldMount mounts by mount(2). Only a path can name the target there: that of its descriptor in the host's /proc, which
// the runtime has checked to be one.
func (c *compiler) oldMount(s plan.Mount, data string, target slot, how uintptr, m slot) {
	source := s.Source
	if source == "" {
		source = "none"
	}
	const prefix = "/proc/self/fd/"
	buf := c.bytes(len(prefix) + 12)
	copy(buf, prefix)
	c.emit(opItoa, "", val(address(buf)+uintptr(len(prefix))), target.arg())
	c.call(unix.SYS_MOUNT, "", val(c.cstring(source)), val(address(buf)), val(c.cstring(s.Type)), val(oldFlags(s.SuperFlags)), val(c.cstring(data)))
	c.into(c.openRootAt(s.Target, how), m)
	// A mount has relatime by itself, as it has with the newer calls.
	c.setattr(m.arg(), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: s.Set, Attr_clr: unix.MOUNT_ATTR__ATIME})
}

// oldFlags are the MS_* of the filesystem.
func oldFlags(names []string) (flags uint64) {
	for _, n := range names {
		switch n {
		case "ro":
			flags |= unix.MS_RDONLY
		case "sync":
			flags |= unix.MS_SYNCHRONOUS
		case "dirsync":
			flags |= unix.MS_DIRSYNC
		case "lazytime":
			flags |= unix.MS_LAZYTIME
		case "mand":
			flags |= unix.MS_MANDLOCK
		case "iversion":
			flags |= unix.MS_I_VERSION
		case "silent":
			flags |= unix.MS_SILENT
		}
	}
	return flags
}

// layers gives each layer of overlay's lowerdir an option of its own (Documentation/filesystems/overlayfs.rst, "Multiple
// lower layers"). Behind "::" are those that hold data only.
func layers(options []string) ([]string, error) {
	var out []string
	for _, o := range options {
		list, ok := strings.CutPrefix(o, "lowerdir=")
		if !ok {
			if tooLong(o) {
				return nil, fmt.Errorf("option %.32q… is longer than fsconfig(2) takes (%d bytes)", o, maxOption)
			}
			out = append(out, o)
			continue
		}
		key, data := "lowerdir+=", false
		layer := []byte(nil)
		for i := 0; i <= len(list); i++ {
			switch {
			case i < len(list) && list[i] == '\\' && i+1 < len(list):
				i++
				layer = append(layer, list[i])
			case i < len(list) && list[i] != ':':
				layer = append(layer, list[i])
			case len(layer) > maxOption:
				return nil, fmt.Errorf("layer %.32q… of lowerdir is longer than fsconfig(2) takes (%d bytes)", layer, maxOption)
			default:
				if len(layer) > 0 {
					out = append(out, key+string(layer))
				}
				layer = nil
				if !data && i+1 < len(list) && list[i+1] == ':' {
					key, data = "datadir+=", true
					i++
				}
			}
		}
	}
	return out, nil
}
