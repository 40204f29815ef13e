package cli

import (
	"errors"
	"fmt"

	"github.com/vsrun/vsrun/libvserver/doctor"
	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

func doctorCommand() *command {
	format := "text"
	return &command{
		name: "doctor", usage: "examine what this host can and can't do",
		about: `The doctor command examines the kernel, the privileges, the cgroups and the
filesystems of this host: what vsrun needs and what it can use, what of that is
missing, and what to do about each. It exits with 0 if a plain bundle, as vsrun
spec writes it, can run.`,
		flags: func(f *flags) {
			f.string(&format, "format", "select one of: text or json")
		},
		run: func(c *context) (int, error) {
			if format != "text" && format != "json" {
				return 0, fmt.Errorf("invalid format option %q: text or json", format)
			}
			s, err := c.global.store()
			if err != nil {
				return 0, err
			}
			ok, err := doctor.Run(c.stdout, doctor.Options{Root: s.Root(), Store: tree.StandardStore, JSON: format == "json"})
			if err == nil && !ok {
				err = errors.New("a plain bundle can't run on this host: see what is marked as failed")
			}
			return 0, err
		},
	}
}
