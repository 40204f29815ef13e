package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/vsrun/vsrun/libvserver/helper"
)

// yes writes a switch for the helper.
func yes(on bool) string {
	if on {
		return "yes"
	}
	return "no"
}

func unifyCommand() *command {
	store, layout, seal, format, least := "", "auto", "auto", "text", "1"
	var exclude []string
	var containers, containerd string
	var dryRun, all bool
	return &command{
		name: "unify", usage: "share what is equal in root filesystems",
		args: "<tree>...",
		about: `The unify command turns root filesystems into unified trees: every distinct
content is one file in an object store, on disk and in memory. vsrun runs such a
tree with a private layer for what the container writes, as if its files were its
own. vsrun ununify is the exact way back. No process may use the trees meanwhile;
a file that is open for writing is left alone. Where a run is killed, nothing is
lost, and the next one goes on.

Layouts: objects (Linux 6.5) shares contents whatever their owners, modes and
times are. links makes hard links of files that are equal in these, too, as
Linux-VServer did; such a tree must be run by vsrun only, since a file that is
written in place is written for all. links leaves out, by default, /.rpmdb /dev
/etc/* /home /proc /mnt /root/* /selinux /sys /tmp /var /*/ls-R.

With --containers-storage or --containerd it takes no trees, but shares equal
files of the committed layers in Podman's or containerd's store, by hard links.

EXAMPLE:
    # vsrun unify --dry-run /var/lib/guests/*/rootfs`,
		max: anyNumber,
		flags: func(f *flags) {
			f.string(&store, "store", "directory for the object store, on the trees' filesystem (default: /var/lib/vsrun/store, or .vserver-store at the top of that filesystem)")
			f.string(&layout, "layout", "select one of: objects, links or auto")
			f.list(&exclude, "exclude, x", "leave files alone that match (may be given many times; +PATTERN takes in; /PATTERN begins at the tree's root)")
			f.bool(&all, "no-default-excludes", "don't leave out what the layout links does by default")
			f.string(&least, "min-size", "leave smaller files alone (bytes)")
			f.string(&seal, "seal", "seal objects with fs-verity, one of: auto, all or none; auto: those of 16 KiB and more, where the filesystem can")
			f.bool(&dryRun, "dry-run, n", "only say what would be shared and saved")
			f.string(&format, "format", "select one of: text or json")
			f.string(&containers, "containers-storage", "share files of the layers in a containers/storage root such as /var/lib/containers/storage")
			f.string(&containerd, "containerd", "share files of the committed snapshots in a containerd root such as /var/lib/containerd")
		},
		run: func(c *context) (int, error) {
			for _, choice := range []struct {
				name, value string
				among       [3]string
			}{{"format", format, [3]string{"text", "json"}}, {"layout", layout, [3]string{"objects", "links", "auto"}},
				{"seal", seal, [3]string{"auto", "all", "none"}}} {
				if choice.value == "" || choice.value != choice.among[0] && choice.value != choice.among[1] && choice.value != choice.among[2] {
					return 0, fmt.Errorf("invalid %s option %q", choice.name, choice.value)
				}
			}
			if _, err := strconv.ParseUint(least, 10, 63); err != nil {
				return 0, fmt.Errorf("invalid min-size option %q: a number of bytes", least)
			}
			engines := 0
			for _, dir := range []string{containers, containerd} {
				if dir != "" {
					engines++
				}
			}
			switch {
			case engines+len(c.args) == 0:
				return 0, errors.New("unify: no tree is given")
			case engines > 1 || engines == 1 && len(c.args) > 0:
				return 0, errors.New("unify: trees, --containers-storage and --containerd exclude each other")
			}
			line := []string{"store=" + store, "layout=" + layout, "seal=" + seal, "format=" + format, "min-size=" + least,
				"dry-run=" + yes(dryRun), "default-excludes=" + yes(!all), "containers-storage=" + containers, "containerd=" + containerd}
			for _, p := range exclude {
				line = append(line, "exclude="+p)
			}
			return 0, helper.Tool("unify", withTrees(line, c.args)...)
		},
	}
}

func withTrees(line, trees []string) []string {
	for _, t := range trees {
		line = append(line, "tree="+t)
	}
	return line
}

func ununifyCommand() *command {
	format, dryRun := "text", false
	return &command{
		name: "ununify", usage: "make plain directories of unified trees again",
		args: "<tree>...",
		about: `The ununify command undoes unify: every file is a file of its own again, with the
same content, owner, mode, times and attributes. It needs the room for that.`,
		min: 1, max: anyNumber,
		flags: func(f *flags) {
			f.bool(&dryRun, "dry-run, n", "only say what would be done")
			f.string(&format, "format", "select one of: text or json")
		},
		run: func(c *context) (int, error) {
			if format != "text" && format != "json" {
				return 0, fmt.Errorf("invalid format option %q: text or json", format)
			}
			return 0, helper.Tool("ununify", withTrees([]string{"format=" + format, "dry-run=" + yes(dryRun)}, c.args)...)
		},
	}
}

func storeCommand() *command {
	store, format, dryRun := "", "text", false
	return &command{
		name: "store", usage: "examine the object store, or clear it up",
		args: "info|list|verify|gc",
		about: `The store command shows and keeps the store of unify:

    info     counts, bytes, what is saved, unused and missing
    list     every distinct tree: how many guests have it, and what it takes
    verify   reads every object and compares it with its name; exits with 1 if
             one is damaged or missing
    gc       removes what no tree uses; it can run beside everything else`,
		min: 1, max: 1,
		flags: func(f *flags) {
			f.string(&store, "store", "directory for the object store (default: /var/lib/vsrun/store)")
			f.bool(&dryRun, "dry-run, n", "gc: only say what would be removed")
			f.string(&format, "format", "select one of: text or json")
		},
		run: func(c *context) (int, error) {
			if format != "text" && format != "json" {
				return 0, fmt.Errorf("invalid format option %q: text or json", format)
			}
			verb := c.args[0]
			switch verb {
			case "info", "list", "verify", "gc":
			default:
				return 0, fmt.Errorf("store: there is no %q: info, list, verify or gc", verb)
			}
			if dryRun && verb != "gc" {
				return 0, fmt.Errorf("store %s changes nothing: --dry-run is for gc", verb)
			}
			return 0, helper.Tool("store", "verb="+verb, "store="+store, "format="+format, "dry-run="+yes(dryRun))
		},
	}
}
