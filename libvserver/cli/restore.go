package cli

import "github.com/vsrun/vsrun/libvserver"

func restoreCommand() *command {
	var o libvserver.RestoreOptions
	return &command{
		name: "restore", usage: "restore a container from a previous checkpoint",
		args: "<container-id>", notes: `Where "<container-id>" is the name for the instance of the container to be
restored.`,
		about: `Restores the saved state of the container instance that was previously saved
using the vsrun checkpoint command.`,
		min: 1, max: 1,
		flags: func(f *flags) {
			f.string(&o.ConsoleSocket, "console-socket", "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal")
			f.string(&o.ImagePath, "image-path", "path to criu image files for restoring")
			f.string(&o.WorkPath, "work-path", "path for saving work files and logs")
			f.string(&o.Bundle, "bundle, b", "path to the root of the bundle directory, defaults to the current directory")
			f.bool(&o.Detach, "detach, d", "detach from the container's process")
			f.string(&o.PidFile, "pid-file", "specify the file to write the process id to")
			f.bool(&o.NoSubreaper, "no-subreaper", "disable the use of the subreaper used to reap reparented processes")
			f.bool(&o.NoPivot, "no-pivot", "do not use pivot root to jail process inside rootfs.  This should be used whenever the rootfs is on top of a ramdisk")
			f.string(&o.LSMProfile, "lsm-profile", "Specify an LSM profile to be used during restore in the form of TYPE:NAME.")
			f.string(&o.LSMMountContext, "lsm-mount-context", "Specify an LSM mount context to be used during restore.")
			f.bool(&o.TCPClose, "tcp-close", "restore connected tcp sockets as closed ones")
			criuFlags(f, &o.CriuOptions)
		},
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			o.ID = c.args[0]
			return v.Restore(&o)
		},
	}
}
