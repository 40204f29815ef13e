package plan

import (
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Linux scheduling policies and flags (sched(7), linux/sched.h).
func schedPolicy(p specs.LinuxSchedulerPolicy) (uint32, bool) {
	switch p {
	case specs.SchedOther:
		return 0, true
	case specs.SchedFIFO:
		return 1, true
	case specs.SchedRR:
		return 2, true
	case specs.SchedBatch:
		return 3, true
	case specs.SchedISO:
		return 4, true
	case specs.SchedIdle:
		return 5, true
	case specs.SchedDeadline:
		return 6, true
	}
	return 0, false
}

func schedFlag(f specs.LinuxSchedulerFlag) (uint64, bool) {
	switch f {
	case specs.SchedFlagResetOnFork:
		return 0x01, true
	case specs.SchedFlagReclaim:
		return 0x02, true
	case specs.SchedFlagDLOverrun:
		return 0x04, true
	case specs.SchedFlagKeepPolicy:
		return 0x08, true
	case specs.SchedFlagKeepParams:
		return 0x10, true
	case specs.SchedFlagUtilClampMin:
		return 0x20, true
	case specs.SchedFlagUtilClampMax:
		return 0x40, true
	}
	return 0, false
}

// scheduling sets the policies of CPU, I/O and memory. Most of it wants privileges over the host, which a process in a user
// namespace has not: a runtime that has them does it.
func (b *builder) scheduling(p *specs.Process) {
	if !b.userns || !b.can(unix.CAP_SYS_NICE) || b.facts.Unprivileged {
		b.policies(p)
	} else {
		steps := b.p.Steps
		b.p.Steps = nil
		b.policies(p)
		b.p.Scheduling, b.p.Steps = b.p.Steps, steps
		if len(b.p.Scheduling) > 0 {
			b.await(Origin(b.p.Scheduling[0].At()), StageScheduling)
		}
	}
	if m := b.linux.MemoryPolicy; m != nil {
		b.memoryPolicy(m)
	}
}

func (b *builder) policies(p *specs.Process) {
	if s := p.Scheduler; s != nil {
		step := Scheduler{Origin: "process.scheduler", Name: string(s.Policy), Nice: s.Nice, Priority: uint32(s.Priority), Runtime: s.Runtime, Deadline: s.Deadline, Period: s.Period}
		var ok bool
		if step.Policy, ok = schedPolicy(s.Policy); !ok {
			b.fault("process.scheduler.policy", "unknown policy "+strconv.Quote(string(s.Policy)))
		}
		for i, f := range s.Flags {
			bit, ok := schedFlag(f)
			if !ok {
				b.fault(string(at1("process.scheduler.flags", i)), "unknown flag "+strconv.Quote(string(f)))
			}
			step.Flags |= bit
		}
		b.add(step)
	}
	if p.IOPriority != nil {
		step := IOPriority{Origin: "process.ioPriority", Priority: p.IOPriority.Priority, Name: string(p.IOPriority.Class)}
		switch p.IOPriority.Class {
		case specs.IOPRIO_CLASS_RT:
			step.Class = 1
		case specs.IOPRIO_CLASS_BE:
			step.Class = 2
		case specs.IOPRIO_CLASS_IDLE:
			step.Class = 3
		default:
			b.fault("process.ioPriority.class", "unknown class "+strconv.Quote(string(p.IOPriority.Class)))
		}
		b.add(step)
	}
}

func (b *builder) memoryPolicy(m *specs.LinuxMemoryPolicy) {
	step := MemoryPolicy{Origin: "linux.memoryPolicy", Name: string(m.Mode)}
	// linux/mempolicy.h
	switch m.Mode {
	case specs.MpolDefault:
		step.Mode = 0
	case specs.MpolPreferred:
		step.Mode = 1
	case specs.MpolBind:
		step.Mode = 2
	case specs.MpolInterleave:
		step.Mode = 3
	case specs.MpolLocal:
		step.Mode = 4
	case specs.MpolPreferredMany:
		step.Mode = 5
	case specs.MpolWeightedInterleave:
		step.Mode = 6
	default:
		b.fault("linux.memoryPolicy.mode", "unknown mode "+strconv.Quote(string(m.Mode)))
	}
	for i, f := range m.Flags {
		switch f {
		case specs.MpolFNumaBalancing:
			step.Mode |= 1 << 13
		case specs.MpolFRelativeNodes:
			step.Mode |= 1 << 14
		case specs.MpolFStaticNodes:
			step.Mode |= 1 << 15
		default:
			b.fault(string(at1("linux.memoryPolicy.flags", i)), "unknown flag "+strconv.Quote(string(f)))
		}
	}
	nodes, err := parseList(m.Nodes)
	if err != "" {
		b.fault("linux.memoryPolicy.nodes", err)
	}
	step.Nodes = nodes
	b.add(step)
}

// parseList reads a list of numbers as cpuset(7) writes it ("0-3,7") into a bit mask.
func parseList(list string) (mask []uint64, fault string) {
	if strings.TrimSpace(list) == "" {
		return nil, ""
	}
	for _, part := range strings.Split(list, ",") {
		from, to, ranged := strings.Cut(strings.TrimSpace(part), "-")
		a, err := strconv.ParseUint(from, 10, 16)
		z := a
		if err == nil && ranged {
			z, err = strconv.ParseUint(to, 10, 16)
		}
		if err != nil || z < a {
			return nil, "not a list of numbers: " + strconv.Quote(list)
		}
		for n := a; n <= z; n++ {
			for uint64(len(mask)) <= n/64 {
				mask = append(mask, 0)
			}
			mask[n/64] |= 1 << (n % 64)
		}
	}
	return mask, ""
}

func (b *builder) personality() {
	p := b.linux.Personality
	step := Personality{Origin: "linux.personality", Name: string(p.Domain)}
	switch p.Domain {
	case specs.PerLinux:
		step.Domain = 0
	case specs.PerLinux32:
		step.Domain = 8
	default:
		b.fault("linux.personality.domain", "unknown domain "+strconv.Quote(string(p.Domain)))
	}
	b.add(step)
}
