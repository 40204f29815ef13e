package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/spec"
)

func specCommand() *command {
	var bundle, file string
	var rootless bool
	return &command{
		name: "spec", usage: "create a new specification file",
		about: `The spec command creates the new specification file named "config.json" for
the bundle.

The spec generated is just a starter file. Editing of the spec is required to
achieve desired results. For example, the newly generated spec includes an args
parameter that is initially set to call the "sh" command when the container is
started. Calling "sh" may work for an ubuntu container or busybox, but will not
work for containers that do not include the "sh" program.

EXAMPLE:
  To run a shell of Debian's busybox:

    mkdir -p mybundle/rootfs/bin
    cp /bin/busybox mybundle/rootfs/bin/sh
    vsrun spec --bundle mybundle
    vsrun run --bundle mybundle container1

In the run command above, "container1" is the name for the instance of the
container that you are starting. The name you provide for the container instance
must be unique on your host.

A container of a user without root's privileges needs a specification of its own
kind, which the parameter --rootless makes. It is not needed when vsrun is
executed as the root in a user namespace created by an unprivileged user.`,
		flags: func(f *flags) {
			f.string(&bundle, "bundle, b", "path to the root of the bundle directory")
			f.string(&file, "file, f", "path to the file to create, instead of the bundle's config.json")
			f.bool(&rootless, "rootless", "generate a configuration for a rootless container")
		},
		run: func(*context) (int, error) {
			name := file
			if name == "" {
				name = filepath.Join(bundle, spec.ConfigFile)
			}
			o := spec.TemplateOptions{Rootless: rootless, CgroupNamespace: host.CgroupLayout() == host.CgroupV2}
			if rootless {
				o.UID, o.GID = uint32(os.Geteuid()), uint32(os.Getegid())
			}
			return 0, writeNew(name, spec.Template(o))
		},
	}
}

// writeNew makes a file that must not exist yet.
func writeNew(name string, data []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		//lint:ignore ST1005 the words are runc's
		return fmt.Errorf("File %s exists. Remove it first", name)
	}
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(name)
	}
	return err
}
