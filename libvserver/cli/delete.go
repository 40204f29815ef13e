package cli

func deleteCommand() *command {
	var force bool
	return &command{
		name: "delete", usage: "delete any resources held by the container often used with detached container",
		args: "<container-id>",
		notes: `Where "<container-id>" is the name for the instance of the container.

EXAMPLE:
For example, if the container id is "ubuntu01" and vsrun list currently shows the
status of "ubuntu01" as "stopped" the following will delete resources held for
"ubuntu01" removing "ubuntu01" from the vsrun list of containers:

       # vsrun delete ubuntu01`,
		min: 1, max: 1,
		flags: func(f *flags) {
			f.bool(&force, "force, f", "Forcibly deletes the container if it is still running (uses SIGKILL)")
		},
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			return 0, v.Delete(c.args[0], force)
		},
	}
}
