package cli

func stateCommand() *command {
	return &command{
		name: "state", usage: "output the state of a container",
		args: "<container-id>", notes: `Where "<container-id>" is your name for the instance of the container.`,
		about: "The state command outputs current state information for the\ninstance of a container.",
		min:   1, max: 1,
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			r, err := v.Report(c.args[0])
			if err != nil {
				return 0, err
			}
			return 0, c.print(r.AppendState(nil))
		},
	}
}
