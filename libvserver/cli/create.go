package cli

import "github.com/vsrun/vsrun/libvserver"

const (
	newID = `Where "<container-id>" is your name for the instance of the container that you
are starting. The name you provide for the container instance must be unique on
your host.`

	aboutBundle = `instance of a container for a bundle. The bundle
is a directory with a specification file named "config.json" and a root
filesystem.

The specification file includes an args parameter. The args parameter is used
to specify command(s) that get run when the container is started. To change the
command(s) that get executed on start, edit the args parameter of the spec. See
"vsrun spec --help" for more explanation.`
)

func createCommand() *command {
	var o libvserver.CreateOptions
	var ignored bool
	return &command{
		name: "create", usage: "create a container",
		args: "<container-id>", notes: newID,
		about: "The create command creates an " + aboutBundle,
		min:   1, max: 1,
		flags: func(f *flags) {
			createFlags(f, &o)
			f.bool(&ignored, "no-subreaper", "") // crun's, which has no use for it here either
		},
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			o.ID = c.args[0]
			return 0, v.Create(&o)
		},
	}
}

// createFlags are the flags that create and run have in common. Paths in them
// are relative to the caller's working directory.
func createFlags(f *flags, o *libvserver.CreateOptions) {
	f.string(&o.Bundle, "bundle, b", "path to the root of the bundle directory, defaults to the current directory")
	f.string(&o.ConfigFile, "config, f", "path to the specification file, defaults to config.json in the bundle directory")
	f.string(&o.ConsoleSocket, "console-socket", "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal")
	f.string(&o.PidfdSocket, "pidfd-socket", "path to an AF_UNIX socket which will receive a file descriptor referencing the init process")
	f.string(&o.PidFile, "pid-file", "specify the file to write the process id to")
	f.bool(&o.NoPivot, "no-pivot", "do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top of a ramdisk")
	f.bool(&o.NoNewKeyring, "no-new-keyring", "do not create a new session keyring for the container.  This will cause the container to inherit the calling processes session key")
	f.count(&o.PreserveFDs, "preserve-fds", "Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)")
}
