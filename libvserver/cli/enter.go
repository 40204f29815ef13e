package cli

import "github.com/vsrun/vsrun/libvserver"

func enterCommand() *command {
	o := libvserver.ExecOptions{Shell: true, Tty: true}
	return &command{
		name: "enter", usage: "open a shell inside the container",
		args:  "<container-id>",
		notes: `Where "<container-id>" is the name for the instance of the container.`,
		about: `The enter command runs a login shell on a terminal in the container: the first of
bash, ash and sh that the container has. It is exec --tty, and takes its flags.`,
		min: 1, max: 1,
		flags: func(f *flags) { execFlags(f, &o) },
		run: func(c *context) (int, error) {
			o.ID = c.args[0]
			return c.exec(&o)
		},
	}
}
