package main

// section is a part of vsrun(8) that no definition of a command holds.
type section struct {
	title, text string
	list        [][2]string
}

var sections = []section{
	{
		title: "EXIT STATUS",
		text:  "run, exec and restore exit with the status of the container's program, or with 128 and the number of the signal that ended it. Otherwise:",
		list: [][2]string{
			{"0", "done"},
			{"1", "an error, which is the last line on standard error, and in the log; also a mistake on the command line"},
			{"3", "there is no such command"},
			{"255", "exec: the process could not be started"},
		},
	},
	{
		title: "ENVIRONMENT",
		list: [][2]string{
			{"XDG_RUNTIME_DIR", "where a user without root's privileges keeps the state of containers, in vsrun below it"},
			{"NOTIFY_SOCKET", "a service manager's socket (sd_notify(3)): what the container's program says on the socket of this name that it gets is passed on"},
			{"LISTEN_FDS, LISTEN_PID, LISTEN_FDNAMES", "sockets of a service manager (sd_listen_fds(3)), which are passed on to the container's program"},
			{"PATH", "where newuidmap, newgidmap, criu and ps are looked for"},
		},
	},
	{
		title: "FILES",
		list: [][2]string{
			{"/run/vsrun/ID/state.json", "what there is to know of the container ID; --root moves it"},
			{"/run/vsrun-cgroup-flags", "the options of cgroup2, which CRIU takes away while it works; empty at other times"},
			{"/run/vsrun-seccomp", "compiled seccomp filters; may be removed at any time"},
			{"/var/lib/vsrun/ID", "the bundle that the service vsrun@ID.service runs"},
		},
	},
}

// statuses are the exit codes of commands that have their own.
var statuses = map[string]string{
	"run":     "That of the container's program, 128 and the number of the signal that ended it, or 1 after an error. With --detach 0 or 1.",
	"exec":    "That of the process, 128 and the number of the signal that ended it, or 255 after an error. With --detach 0 or 255.",
	"restore": "That of the container's program, 128 and the number of the signal that ended it, or 1 after an error. With --detach 0 or 1.",
	"doctor":  "0 if a plain bundle can run on this host, 1 if not.",
}
