package cli

// command is one word of the command line.
type command struct {
	name  string
	usage string // what it does, in a line
	args  string // its arguments, as the help shows them
	notes string // paragraphs below the usage line
	about string // the help's description

	min, max int  // how many arguments it takes
	rest     bool // what follows the first argument is not this program's: no flags there

	flags func(f *flags)
	run   func(c *context) (status int, err error)
}

// anyNumber is a max of arguments for which there is none.
const anyNumber = 1 << 30

// context is one call of a command.
type context struct {
	*app
	global *global
	args   []string
}

// entry names a command without building it.
type entry struct {
	name  string
	build func() *command
}

// commands returns all of them in the order of their names. It is no variable
// because the command help reads it.
func commands() [27]entry {
	return [...]entry{
		{"checkpoint", checkpointCommand},
		{"create", createCommand},
		{"delete", deleteCommand},
		{"doctor", doctorCommand},
		{"enter", enterCommand},
		{"events", eventsCommand},
		{"exec", execCommand},
		{"explain", explainCommand},
		{"features", featuresCommand},
		{"help", helpCommand},
		{"kill", killCommand},
		{"list", listCommand},
		{"net", netCommand},
		{"pause", pauseCommand},
		{"ps", psCommand},
		{"restore", restoreCommand},
		{"resume", resumeCommand},
		{"run", runCommand},
		{"spec", specCommand},
		{"start", startCommand},
		{"stat", statCommand},
		{"state", stateCommand},
		{"store", storeCommand},
		{"top", topCommand},
		{"unify", unifyCommand},
		{"ununify", ununifyCommand},
		{"update", updateCommand},
	}
}

// find builds the command of a name; nil if there is none.
func find(name string) *command {
	if name == "h" {
		name = "help"
	}
	for _, e := range commands() {
		if e.name == name {
			return e.build()
		}
	}
	return nil
}
