package cli

// Doc is what the help says of a command, as data. Manual pages and shell
// completions are made of it (contrib/gendocs), so that the definition of a
// command is the only place that says what it takes. Nothing in the program
// itself calls Docs, so the linker leaves it out.
type Doc struct {
	Name  string
	Usage string // what it does, in a line
	Args  string // its arguments, as the help shows them
	Notes string // paragraphs below the usage line
	About string // the description
	Rest  bool   // what follows the first argument has flags of its own
	Flags []FlagDoc
}

// FlagDoc is a flag that the help shows.
type FlagDoc struct {
	Names []string // without dashes, the longest first as a rule
	Value bool     // it takes one
	Usage string
}

// Docs returns the program, with the flags before the command, and its commands
// in the order of their names.
func Docs() (program Doc, all []Doc) {
	f := newFlags()
	new(global).define(f)
	program = Doc{Name: "vsrun", Usage: "Open Container Initiative runtime", About: synopsis, Flags: f.docs()}
	for _, e := range commands() {
		cmd := e.build()
		f := newFlags()
		cmd.define(f)
		all = append(all, Doc{Name: cmd.name, Usage: cmd.usage, Args: cmd.args, Notes: cmd.notes, About: cmd.about, Rest: cmd.rest, Flags: f.docs()})
	}
	return program, all
}

func (f *flags) docs() []FlagDoc {
	var list []FlagDoc
	for _, h := range f.help() {
		list = append(list, FlagDoc{Names: h.names, Value: h.value, Usage: h.usage})
	}
	return list
}
