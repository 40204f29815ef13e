package cli

import (
	"errors"
	"time"

	"github.com/vsrun/vsrun/libvserver"
)

func eventsCommand() *command {
	interval, stats := 5*time.Second, false
	return &command{
		name: "events", usage: "display container events such as OOM notifications, cpu, memory, and IO usage statistics",
		args: "<container-id>", notes: `Where "<container-id>" is the name for the instance of the container.`,
		about: `The events command displays information about the container. By default the
information is displayed once every 5 seconds.`,
		min: 1, max: 1,
		flags: func(f *flags) {
			f.duration(&interval, "interval", "set the stats collection interval")
			f.bool(&stats, "stats", "display the container's stats then exit")
		},
		run: func(c *context) (int, error) {
			if interval <= 0 {
				return 0, errors.New("duration interval must be greater than 0")
			}
			v, err := c.verbs()
			if err != nil {
				return 0, err
			}
			emit := func(e *libvserver.Event) error { return c.print(e.AppendJSON(nil)) }
			if !stats {
				return 0, v.Events(c.args[0], interval, emit)
			}
			e, err := v.Stats(c.args[0])
			if err != nil {
				return 0, err
			}
			return 0, emit(e)
		},
	}
}
