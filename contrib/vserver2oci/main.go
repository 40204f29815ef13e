// Vserver2oci makes an OCI bundle of a guest's configuration of Linux-VServer: vserver2oci [-c /etc/vservers] NAME BUNDLE
// writes BUNDLE/config.json. The guest's files stay where they are. What has no counterpart is told, and so is every file of
// the configuration that says something and was not understood: nothing is left out in silence.
//
// It reads the layout that util-vserver documents (its "Great Flower Page"): one value a file, a file that is there for yes,
// a line a value for lists. It knows the runtime only by package spec, whose checks decide what an annotation may say.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	dir := flag.String("c", "/etc/vservers", "where the guests' configurations are")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: vserver2oci [-c /etc/vservers] NAME BUNDLE")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*dir, flag.Arg(0), flag.Arg(1)); err != nil {
		fmt.Fprintln(os.Stderr, "vserver2oci:", err)
		os.Exit(1)
	}
}

func run(dir, name, bundle string) error {
	text, notes, err := convert(dir, name)
	if err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(os.Stderr, name+": "+n)
	}
	if err := os.MkdirAll(bundle, 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(bundle, "config.json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
