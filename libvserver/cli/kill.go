package cli

import "github.com/vsrun/vsrun/libvserver/state"

func killCommand() *command {
	var all bool
	return &command{
		name: "kill", usage: "kill sends the specified signal (default: SIGTERM) to the container's init process",
		args: "<container-id> [signal]",
		notes: `Where "<container-id>" is the name for the instance of the container and
"[signal]" is the signal to be sent to the init process.

EXAMPLE:
For example, if the container id is "ubuntu01" the following will send a "KILL"
signal to the init process of the "ubuntu01" container:

       # vsrun kill ubuntu01 KILL`,
		min: 1, max: 2,
		flags: func(f *flags) {
			f.bool(&all, "all, a", "send the specified signal to all processes inside the container")
		},
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			name := "SIGTERM"
			if len(c.args) > 1 && c.args[1] != "" {
				name = c.args[1]
			}
			sig, err := state.ParseSignal(name)
			if err != nil {
				return 0, err
			}
			return 0, v.Kill(c.args[0], sig, all)
		},
	}
}
