package cli

func pauseCommand() *command {
	return &command{
		name: "pause", usage: "pause suspends all processes inside the container",
		args: "<container-id>",
		notes: `Where "<container-id>" is the name for the instance of the container to be
paused.`,
		about: `The pause command suspends all processes in the instance of the container.

Use vsrun list to identify instances of containers and their current status.`,
		min: 1, max: 1,
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			return 0, v.Pause(c.args[0])
		},
	}
}
