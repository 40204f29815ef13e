package cli

import (
	"strconv"

	"github.com/vsrun/vsrun/libvserver/features"
	"github.com/vsrun/vsrun/libvserver/host"
)

func featuresCommand() *command {
	return &command{
		name: "features", usage: "show the enabled features",
		about: `Show the enabled features.
   The result is parsable as a JSON.
   See https://github.com/opencontainers/runtime-spec/blob/main/features.md for the type definition.`,
		run: func(c *context) (int, error) {
			b := features.Build{Version: c.build.version(), Commit: c.build.commit(), Libseccomp: c.build.Libseccomp}
			if abi, err := host.LandlockABI(); err == nil {
				b.Landlock = strconv.Itoa(abi)
			}
			return 0, c.print(features.AppendJSON(nil, features.Known(b)))
		},
	}
}
