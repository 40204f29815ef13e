package cli

func resumeCommand() *command {
	return &command{
		name: "resume", usage: "resumes all processes that have been previously paused",
		args: "<container-id>",
		notes: `Where "<container-id>" is the name for the instance of the container to be
resumed.`,
		about: `The resume command resumes all processes in the instance of the container.

Use vsrun list to identify instances of containers and their current status.`,
		min: 1, max: 1,
		run: func(c *context) (int, error) {
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			return 0, v.Resume(c.args[0])
		},
	}
}
