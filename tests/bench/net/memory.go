package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// memory measures what the kernel takes for idle containers: what all of it has grown by, for each of many. Only what
// tells the kinds apart is of interest, so there is nothing in them but a program that sleeps.
func (b *bench) memory(arms []*arm, count int) error {
	for i := range count {
		addresses := fmt.Sprintf("10.79.%d.%d,10.80.%d.%d,fd79::%x,fd80::%x", i/250, 1+i%250, i/250, 1+i%250, i+1, i+1)
		for _, a := range arms {
			if a.name == "filter" {
				continue
			}
			edits := []string{a.server[0]}
			switch a.name {
			case "context":
				edits = append(edits, context(addresses), annotation+`net.missing-address"=warn`)
			case "one address":
				edits = append(edits, context(strings.SplitN(addresses, ",", 2)[0]), annotation+`net.missing-address"=warn`)
			case "netns":
				edits[0] = "linux.namespaces[type=network].path=/run/netns/" + b.ns("i"+strconv.Itoa(i))
			}
			if err := b.bundle(filepath.Join(b.dir, "idle-"+b.id(a, strconv.Itoa(i))), edits); err != nil {
				return err
			}
		}
	}
	for range 2 {
		for _, a := range arms {
			if a.name == "filter" {
				continue
			}
			before, err := kernelMemory()
			if err != nil {
				return err
			}
			for i := range count {
				if a.name == "netns" {
					if err := ip(b.veth(b.ns("i"+strconv.Itoa(i)), fmt.Sprintf("10.78.%d.%d/16", 2+i/250, 1+i%250))); err != nil {
						return err
					}
				}
				if _, err := b.vsrun("run", "-d", "-b", filepath.Join(b.dir, "idle-"+b.id(a, strconv.Itoa(i))), b.id(a, "idle"+strconv.Itoa(i))); err != nil {
					return err
				}
			}
			after, err := kernelMemory()
			if err != nil {
				return err
			}
			a.memory = append(a.memory, after.less(before, count))
			for i := range count {
				if _, err := b.vsrun("delete", "--force", b.id(a, "idle"+strconv.Itoa(i))); err != nil {
					return err
				}
				if a.name == "netns" {
					if err := ip([]string{"netns del " + b.ns("i"+strconv.Itoa(i))}); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}

// memory is what the kernel itself uses, in KiB (proc_meminfo(5)), by kind.
type memory struct{ slab, percpu, rest float64 }

func (m memory) sum() float64 { return m.slab + m.percpu + m.rest }

func (m memory) less(other memory, count int) memory {
	n := float64(count)
	return memory{(m.slab - other.slab) / n, (m.percpu - other.percpu) / n, (m.rest - other.rest) / n}
}

// kernelMemory waits until the kernel has freed what it can: caches of files by request, all else after RCU's grace periods.
func kernelMemory() (m memory, err error) {
	for range 4 {
		time.Sleep(700 * time.Millisecond)
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("2"), 0); err != nil { // what it drops of the page cache others would miss
			return m, err
		}
	}
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return m, err
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		n, _ := strconv.ParseFloat(f[1], 64)
		switch f[0] {
		case "Slab:":
			m.slab = n
		case "Percpu:":
			m.percpu = n
		case "PageTables:", "SecPageTables:", "VmallocUsed:": // the last has the kernel's stacks
			m.rest += n
		}
	}
	return m, nil
}
