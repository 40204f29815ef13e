package cli

import (
	"fmt"

	"github.com/vsrun/vsrun/libvserver/state"
)

func listCommand() *command {
	format, quiet := "table", false
	return &command{
		name: "list", usage: "lists containers started by vsrun with the given root",
		notes: `Where the given root is specified via the global option "--root"
(default: "/run/vsrun").

EXAMPLE 1:
To list containers created via the default "--root":
       # vsrun list

EXAMPLE 2:
To list containers created using a non-default value for "--root":
       # vsrun --root value list`,
		flags: func(f *flags) {
			f.string(&format, "format, f", "select one of: table or json")
			f.bool(&quiet, "quiet, q", "display only container IDs")
		},
		run: func(c *context) (int, error) {
			if format != "table" && format != "json" {
				return 0, fmt.Errorf("invalid format option %q: table or json", format)
			}
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			list, err := v.List()
			if err != nil {
				return 0, err
			}
			switch {
			case quiet:
				return 0, c.print(state.AppendIDs(nil, list))
			case format == "json":
				return 0, c.print(state.AppendJSON(nil, list))
			default:
				return 0, c.print(state.AppendTable(nil, list))
			}
		},
	}
}
