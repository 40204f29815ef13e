// Mkbundle makes a bundle as the tests do, to try something by hand:
//
//	go run ./tests/cmd/mkbundle DIR [EDIT]...
package main

import (
	"fmt"
	"os"

	"github.com/vsrun/vsrun/tests/harness"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: mkbundle DIR [EDIT]...   (PROBE=FILE puts that program into the bundle as /bin/probe)")
		os.Exit(2)
	}
	if err := harness.MakeBundle(os.Args[1], os.Getenv("PROBE"), os.Args[2:]...); err != nil {
		fmt.Fprintln(os.Stderr, "mkbundle:", err)
		os.Exit(1)
	}
}
