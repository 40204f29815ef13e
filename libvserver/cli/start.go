package cli

func startCommand() *command {
	return &command{
		name: "start", usage: "executes the user defined process in a created container",
		args: "<container-id>", notes: newID,
		about: "The start command executes the user defined process in a created container.",
		min:   1, max: 1,
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			return 0, v.Start(c.args[0])
		},
	}
}
