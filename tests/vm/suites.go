package main

import (
	"bytes"
	"context"
	"errors"
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
	quick            bool
	conformance, cri bool
	reboots          bool   // its command reboots the machine, and is then run again
	append           string // to the kernel's command line
}

// suites are run in this order. What is said to be quick is what a change must pass.
var suites = []suite{
	{name: "systemd", command: engines("systemd"), limit: 12 * time.Minute, quick: true},
	{name: "podman", command: engines("podman"), limit: 20 * time.Minute, quick: true},
	{name: "containerd", command: engines("containerd"), limit: 20 * time.Minute, quick: true, cri: true},
	{name: "docker", command: engines("docker"), limit: 20 * time.Minute, quick: true},
	{name: "contrib", command: "tests/vm/suite/contrib", limit: 25 * time.Minute, quick: true, cri: true},
	{name: "boot", command: "tests/vm/suite/boot", limit: 15 * time.Minute, quick: true, reboots: true},
	{name: "cgroup", command: "modprobe brd; modprobe rdma_rxe; tests/vm/suite/gotest libvserver/cgroup", limit: 10 * time.Minute, quick: true},
	{name: "containerd-systemd", command: "export CGROUPS=systemd AT_ONCE=100; " + engines("containerd"), limit: 60 * time.Minute, cri: true},
	{name: "podman-systemd", command: engines("podman-systemd"), limit: 45 * time.Minute},
	{name: "podman-rootless", command: engines("podman-rootless"), limit: 45 * time.Minute},
	{name: "selinux", command: engines("selinux") + "; code=$?; tests/vm/suite/gotest -run TestSuite/linux_mount_label tests/conformance || code=1; exit $code",
		limit: 20 * time.Minute, conformance: true, append: "lsm=landlock,lockdown,yama,selinux,bpf selinux=1 enforcing=0"},
	{name: "docker-systemd", command: engines("docker-systemd"), limit: 45 * time.Minute},
	{name: "unify", command: "code=0; export VSRUN_TEST_KILLS=2; for fs in ext4 btrfs xfs; do TMPDIR=/mnt/$fs tests/vm/suite/gotest -timeout 25m libvserver/unify || code=1; done; exit $code",
		limit: 40 * time.Minute},
	{name: "unify-engines", command: engines("unify"), limit: 15 * time.Minute, quick: true},
	{name: "netcontext", command: "export VSRUN_TEST_CONTEXTS=60; tests/vm/suite/gotest -timeout 25m tests/netcontext && tests/vm/suite/gotest -run TestVerifier libvserver/netcontext/job",
		limit: 30 * time.Minute},
	{name: "integration", command: "VSRUN_TEST_CYCLES=20 VSRUN_TEST_KILLS=8 tests/vm/suite/gotest -timeout 55m -skip '" + criuTests + "' tests/integration", limit: time.Hour},
	{name: "checkpoint", command: "NOTES=1 tests/vm/suite/gotest -timeout 25m -run '" + criuTests + "' tests/integration", limit: 30 * time.Minute, quick: true},
	{name: "faults", command: faults, limit: 85 * time.Minute},
	{name: "load", command: "NOTES=1 VSRUN_TEST_CLOCK=1 VSRUN_LOAD_TIME=2m VSRUN_LOAD_CYCLES=500 tests/vm/suite/gotest -timeout 25m tests/load", limit: 30 * time.Minute},
	{name: "conformance", command: profile + "tests/vm/suite/gotest -timeout 55m --table -run TestSuite tests/conformance", limit: time.Hour, conformance: true},
	{name: "cve", command: "tests/vm/suite/gotest --table -timeout 25m tests/cve", limit: 30 * time.Minute, quick: true},
}

// profile loads the AppArmor profile that a program of the OCI validation suite gives its container.
const profile = "echo 'profile acme_secure_profile flags=(attach_disconnected,mediate_deleted) { capability, network, file, mount, umount, pivot_root, ptrace, signal, unix, }' | apparmor_parser -r -K && "

// criuTests are the tests of tests/integration that need CRIU: a suite of their own.
const criuTests = "Checkpoint|Restore|PreDump|PageServer|LazyPages"

// faults is run in two parts side by side, one for each processor.
const faults = `export NOTES=1 VSRUN_TEST_FAULTS=all VSRUN_TEST_TIME=75m
for part in 1 2; do
	EVENTS=/out/events-$part.json VSRUN_TEST_PART=$part/2 tests/vm/suite/gotest -timeout 82m tests/faults &
done
code=0
wait -n || code=1
wait -n || code=1
exit $code`

// engines runs one of the scripts for engines: an emulated machine is given four times as long as they give a host.
func engines(script string) string {
	return "export PATIENCE=4 VERBOSE=1; tests/engines/run.sh " + script
}

var summary = regexp.MustCompile(`(?m)^(?:\S+: )?(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$`)

func test(ctx context.Context, img image, root string, o options, names []string) (int, error) {
	chosen, err := choose(names, o.quick)
	if err != nil {
		return 2, err
	}
	var total [3]int
	var lines []string
	start := time.Now()
	for _, s := range chosen {
		if left := o.total - time.Since(start); o.total > 0 && left < s.limit/4 {
			lines = append(lines, fmt.Sprintf("%-16s        not run: %v for all suites are nearly over", s.name, o.total))
			total[2]++
			continue
		}
		fmt.Printf("== %s\n", s.name)
		command := s.command
		if o.runtime != "" {
			command = "export RUNTIME=" + o.runtime + "\n" + command
		}
		begin := time.Now()
		var out bytes.Buffer
		code, err := s.boot(ctx, img, root, o, command, &out)
		if errors.Is(err, errEmulator) {
			fmt.Printf("vm: %v\nvm: %s once more\n", err, s.name)
			out.Reset()
			code, err = s.boot(ctx, img, root, o, command, &out)
		}
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
		lines = append(lines, fmt.Sprintf("%-16s %4d s  %d passed, %d failed, %d skipped", s.name, int(time.Since(begin).Seconds()), count[0], count[1], count[2]))
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

func (s *suite) boot(ctx context.Context, img image, root string, o options, command string, out *bytes.Buffer) (int, error) {
	m := machine{img: img, root: root, options: o, conformance: s.conformance, cri: s.cri, reboots: s.reboots}
	m.limit = s.limit
	m.append = strings.TrimSpace(m.append + " " + s.append)
	return m.boot(ctx, command, out)
}

func choose(names []string, quick bool) ([]suite, error) {
	var list []suite
	if len(names) == 0 {
		for _, s := range suites {
			if s.quick || !quick {
				list = append(list, s)
			}
		}
		return list, nil
	}
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
