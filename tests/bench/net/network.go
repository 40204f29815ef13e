package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// network makes the namespaces: of the host and of the contexts, with addresses on lo, and two that a bridge connects.
func (b *bench) network() error {
	var lines []string
	for _, n := range []string{"h", "x", "y"} {
		lines = append(lines, "netns add "+b.ns(n), "-n "+b.ns(n)+" link set lo up")
		for i := 1; i <= 4; i++ {
			d := strconv.Itoa(i)
			lines = append(lines, "-n "+b.ns(n)+" addr add 10.78.0."+d+"/24 dev lo", "-n "+b.ns(n)+" addr add fd78::"+d+"/64 dev lo")
		}
	}
	lines = append(lines, "link set lo up", "link add br0 type bridge", "link set br0 up", "addr add 10.78.1.1/24 dev br0")
	for i, n := range []string{b.ns("s"), b.ns("c")} {
		lines = append(lines, b.veth(n, "10.78.1."+strconv.Itoa(i+2)+"/24")...)
	}
	if err := ip(lines); err != nil {
		b.dropNetwork()
		return err
	}
	return nil
}

// veth are the steps to a namespace behind a bridge.
func (b *bench) veth(n, address string) []string {
	h := "v" + n[max(0, len(n)-12):]
	return []string{"netns add " + n, "link add " + h + " type veth peer name eth0 netns " + n, "link set " + h + " master br0 up",
		"-n " + n + " link set lo up", "-n " + n + " addr add " + address + " dev eth0", "-n " + n + " link set eth0 up"}
}

func ip(lines []string) error {
	for _, l := range lines {
		if out, err := exec.Command("ip", strings.Fields(l)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", l, err, out)
		}
	}
	return nil
}

func (b *bench) dropNetwork() {
	list, _ := filepath.Glob("/run/netns/" + b.ns("") + "*")
	for _, n := range list {
		_ = exec.Command("ip", "netns", "del", filepath.Base(n)).Run()
	}
}
