// The Go runtime would otherwise open cgroup files at its start, and keep them:
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// vsrun is an OCI runtime: it runs containers as their bundles' config.json says.
// This file is the program's one door; the command line is libvserver/cli.
package main

import (
	"os"

	"github.com/vsrun/vsrun/libvserver/cli"
	"github.com/vsrun/vsrun/libvserver/stack"
)

// Set by the linker (-X main.version=...).
var version, commit, libseccomp string

func main() {
	stack.Grow()
	os.Exit(cli.Main(os.Args, cli.Build{Version: version, Commit: commit, Libseccomp: libseccomp}))
}
