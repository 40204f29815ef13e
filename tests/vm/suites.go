package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// suite is one boot of `vm test`: a command in /work, and how long it may take under emulation.
type suite struct {
	name, command    string
	limit            time.Duration
	conformance, cri bool
}

// suites are run in this order.
var suites = []suite{
	{name: "contrib", command: "tests/vm/suite/contrib", limit: 15 * time.Minute},
	{name: "cgroup", command: "modprobe brd; modprobe rdma_rxe; tests/vm/suite/gotest libvserver/cgroup", limit: 10 * time.Minute},
	{name: "integration", command: "tests/vm/suite/gotest tests/integration", limit: 30 * time.Minute},
}

var summary = regexp.MustCompile(`(?m)^(?:\S+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$`)

func test(ctx context.Context, img image, root string, o options, names []string) (int, error) {
	chosen, err := choose(names)
	if err != nil {
		return 2, err
	}
	var total [3]int
	var lines []string
	for _, s := range chosen {
		fmt.Printf("== %s\n", s.name)
		m := machine{img: img, root: root, options: o, conformance: s.conformance, cri: s.cri}
		m.limit = s.limit
		command := s.command
		if o.runtime != "" {
			command = "export RUNTIME=" + o.runtime + "\n" + command
		}
		begin := time.Now()
		var out bytes.Buffer
		code, err := m.boot(ctx, command, &out)
		if err != nil {
			fmt.Println("vm:", err)
		}
		var count [3]int
		for _, found := range summary.FindAllStringSubmatch(strings.ReplaceAll(out.String(), "\r", ""), -1) {
			for i := range count {
				n, _ := strconv.Atoi(found[i+1])
				count[i] += n
			}
		}
		// A suite that fails without a failed test, or that ran none, has failed all the same.
		if code != 0 && count[1] == 0 || count[0] == 0 {
			fmt.Printf("vm: suite %s ended with exit code %d after %d tests\n", s.name, code, count[0]+count[1])
			count[1]++
		}
		for i := range count {
			total[i] += count[i]
		}
		lines = append(lines, fmt.Sprintf("%-14s %4d s  %d passed, %d failed, %d skipped", s.name, int(time.Since(begin).Seconds()), count[0], count[1], count[2]))
		if ctx.Err() != nil {
			return 1, ctx.Err()
		}
	}
	fmt.Println("== suites in the test machine")
	for _, l := range lines {
		fmt.Println(" ", l)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", total[0], total[1], total[2])
	if total[1] > 0 {
		return 1, nil
	}
	return 0, nil
}

func choose(names []string) ([]suite, error) {
	if len(names) == 0 {
		return suites, nil
	}
	var list []suite
	var known []string
	for _, s := range suites {
		known = append(known, s.name)
	}
next:
	for _, n := range names {
		for _, s := range suites {
			if s.name == n {
				list = append(list, s)
				continue next
			}
		}
		return nil, fmt.Errorf("no suite %q: there are %s", n, strings.Join(known, ", "))
	}
	return list, nil
}
