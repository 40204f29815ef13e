package cli

import "github.com/vsrun/vsrun/libvserver"

func runCommand() *command {
	var o libvserver.RunOptions
	return &command{
		name: "run", usage: "create and run a container",
		args: "<container-id>", notes: newID,
		about: "The run command creates an " + aboutBundle,
		min:   1, max: 1,
		flags: func(f *flags) {
			createFlags(f, &o.CreateOptions)
			f.bool(&o.Detach, "detach, d", "detach from the container's process")
			f.bool(&o.Keep, "keep", "do not delete the container after it exits")
			f.bool(&o.NoSubreaper, "no-subreaper", "disable the use of the subreaper used to reap reparented processes")
		},
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			o.ID = c.args[0]
			return v.Run(&o)
		},
	}
}
