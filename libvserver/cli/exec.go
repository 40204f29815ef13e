package cli

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/vsrun/vsrun/libvserver"
)

func execCommand() *command {
	var o libvserver.ExecOptions
	var ignored bool
	return &command{
		name: "exec", usage: "execute new process inside the container",
		args: "<container-id> <command> [command options]  || -p process.json <container-id>",
		notes: `Where "<container-id>" is the name for the instance of the container and
"<command>" is the command to be executed in the container.
"<command>" can't be empty unless a "-p" flag provided.

EXAMPLE:
For example, if the container is configured to run the linux ps command the
following will output a list of processes running in the container:

       # vsrun exec <container-id> ps`,
		min: 1, max: anyNumber, rest: true,
		flags: func(f *flags) {
			execFlags(f, &o)
			f.bool(&o.Tty, "tty, t", "allocate a pseudo-TTY")
			f.string(&o.ProcessFile, "process, p", "path to the process.json")
			f.bool(&o.Detach, "detach, d", "detach from the container's process")
			f.string(&o.ConsoleSocket, "console-socket", "path to an AF_UNIX socket which will receive a file descriptor referencing the master end of the console's pseudoterminal")
			f.string(&o.PidfdSocket, "pidfd-socket", "path to an AF_UNIX socket which will receive a file descriptor referencing the exec process")
			f.string(&o.PidFile, "pid-file", "specify the file to write the process id to")
			f.count(&o.PreserveFDs, "preserve-fds", "Pass N additional file descriptors to the container (stdio + N in total)")
			f.bool(&ignored, "no-subreaper", "") // run's, which is no use here
		},
		run: func(c *context) (int, error) {
			o.ID, o.Args = c.args[0], c.args[1:]
			return c.exec(&o)
		},
	}
}

// execFlags are the flags that exec and enter have in common.
func execFlags(f *flags, o *libvserver.ExecOptions) {
	f.string(&o.Cwd, "cwd", "current working directory in the container")
	f.list(&o.Env, "env, e", "set environment variables")
	f.string(&o.User, "user, u", "UID (format: <uid>[:<gid>], or names that the container knows)")
	f.value((*gids)(&o.AdditionalGids), "additional-gids, g", "additional gids")
	f.string(&o.ProcessLabel, "process-label", "set the asm process label for the process commonly used with selinux")
	f.string(&o.AppArmor, "apparmor", "set the apparmor profile for the process")
	f.switches(&o.NoNewPrivs, "no-new-privs", "set the no new privileges value for the process")
	f.list(&o.Caps, "cap, c", "add a capability to the bounding set for the process")
	f.list(&o.Cgroups, "cgroup", "run the process in an (existing) sub-cgroup(s). Format is [<controller>:]<cgroup>.")
	f.bool(&o.IgnorePaused, "ignore-paused", "allow exec in a paused container")
}

// exec runs a process and passes its exit code on; what fails before that is 255, as with runc.
func (c *context) exec(o *libvserver.ExecOptions) (int, error) {
	v, err := c.verbs()
	if err != nil {
		return 0, err
	}
	status, err := v.Exec(o)
	if err != nil {
		return 0, &exitError{255, fmt.Errorf("exec failed: %w", err)}
	}
	return status, nil
}

// gids is a list of group ids.
type gids []uint32

func (g *gids) Set(s string) error {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return errors.New("additional-gids must be a positive number " + s)
	}
	*g = append(*g, uint32(n))
	return nil
}

// optional is a switch that is on, off or not given.
type optional struct{ p **bool }

func (o optional) Set(s string) error {
	v, err := strconv.ParseBool(s)
	if err != nil {
		return errors.New("not true or false")
	}
	*o.p = &v
	return nil
}
