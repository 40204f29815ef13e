// Gendocs writes the manual pages and the shell completions: gendocs DIR DATE makes DIR/man and DIR/completion. The date
// is that of the pages.
//
// Both are made of the definitions of the commands (libvserver/cli.Docs), like
// the help itself, so they cannot say anything else than the program does. What
// pages need beyond that, such as the files that vsrun reads, stands in pages.go.
// It is a program of its own: none of this is in the binary that containers wait for.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/vsrun/vsrun/libvserver/cli"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: gendocs DIR DATE")
		os.Exit(2)
	}
	if err := write(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "gendocs:", err)
		os.Exit(1)
	}
}

func write(dir, date string) error {
	for name, text := range render(date) {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// render returns all there is to write, by path.
func render(date string) map[string]string {
	program, commands := cli.Docs()
	shell := newShell(program, commands)
	all := map[string]string{
		"man/vsrun.8":           programPage(program, commands, date),
		"completion/vsrun.bash": shell.bash(),
		"completion/_vsrun":     shell.zsh(),
		"completion/vsrun.fish": shell.fish(),
	}
	for _, c := range commands {
		all["man/vsrun-"+c.Name+".8"] = commandPage(c, date)
	}
	return all
}
