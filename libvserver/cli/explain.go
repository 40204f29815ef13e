package cli

import "fmt"

func explainCommand() *command {
	format, config := "text", ""
	return &command{
		name: "explain", usage: "show what creating a container would do, step by step",
		args: "[bundle]",
		notes: `Where "[bundle]" is the bundle directory, by default the current one.

EXAMPLE:
       # vsrun explain mybundle`,
		about: `The explain command prints the launch of a bundle as its ordered steps, each with
the place in config.json that asks for it. It carries nothing out, needs no
privileges, and reports the faults of the configuration as create would.`,
		min: 0, max: 1,
		flags: func(f *flags) {
			f.string(&format, "format", "select one of: text or json")
			f.string(&config, "config, f", "path to the specification file, defaults to config.json in the bundle directory")
		},
		run: func(c *context) (int, error) {
			if format != "text" && format != "json" {
				return 0, fmt.Errorf("invalid format option %q: text or json", format)
			}
			bundle := ""
			if len(c.args) > 0 {
				bundle = c.args[0]
			}
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			p, err := v.Explain(bundle, config)
			if err != nil {
				return 0, err
			}
			if format == "json" {
				return 0, c.print(p.AppendJSON(nil))
			}
			return 0, c.print(p.AppendText(nil))
		},
	}
}
