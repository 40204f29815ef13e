package spec

// Sched is Linux-VServer's token bucket of CPU time: FillRate tokens come in
// each Interval, a running process takes one a tick, and TokensMax can be saved
// (org.linux-vserver.sched.*). A tick is a millisecond of one CPU. 0 is not
// set.
type Sched struct {
	FillRate  uint64 // tokens
	Interval  uint64 // ticks
	TokensMax uint64 // tokens; 0: no more than FillRate
}

var schedAnnotations = [...]annotation{
	{"sched.fill-rate", func(x *Extension, _, value string) string { return number(value, 1, maxTokens, &x.Sched.FillRate) }},
	{"sched.interval", func(x *Extension, _, value string) string { return number(value, 1, maxTokens, &x.Sched.Interval) }},
	{"sched.tokens-max", func(x *Extension, _, value string) string { return number(value, 1, maxTokens, &x.Sched.TokensMax) }},
	{"sched.tokens", func(*Extension, string, string) string {
		return unsupported + "a cgroup's bucket is full when it is made"
	}},
	{"sched.tokens-min", func(*Extension, string, string) string {
		return unsupported + "a cgroup that was held goes on with the next interval: a longer sched.interval holds it longer"
	}},
	{"sched.priority-bias", func(*Extension, string, string) string {
		return unsupported + "linux.resources.cpu.shares sets the cgroup's weight"
	}},
	{"sched.fill-rate2", func(*Extension, string, string) string {
		return unsupported + "without the limit (sched_prio in context.flags) a container gets the time that is idle"
	}},
	{"sched.interval2", func(*Extension, string, string) string {
		return unsupported + "without the limit (sched_prio in context.flags) a container gets the time that is idle"
	}},
}

const unsupported = "is not supported: "

// maxTokens keeps products with it within 64 bits.
const maxTokens = 1_000_000

// checkSched checks what the tokens have to do with each other.
func (c *checker) checkSched(x *Extension) {
	s := &x.Sched
	if *s == (Sched{}) {
		return
	}
	switch {
	case s.FillRate == 0 && s.Interval == 0:
		c.annotationFault("sched.tokens-max", "needs sched.fill-rate and sched.interval")
	case s.FillRate == 0:
		c.annotationFault("sched.interval", "needs sched.fill-rate")
	case s.Interval == 0:
		c.annotationFault("sched.fill-rate", "needs sched.interval")
	case s.TokensMax != 0 && s.TokensMax < s.FillRate:
		c.annotationFault("sched.tokens-max", "must not be less than sched.fill-rate: the tokens of an interval would not fit")
	}
}
