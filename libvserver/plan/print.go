package plan

import (
	"fmt"

	"github.com/vsrun/vsrun/spec/wire"
)

// Drop removes the steps for which f is true.
func (p *Plan) Drop(f func(Step) bool) {
	kept := p.Steps[:0]
	for _, s := range p.Steps {
		if !f(s) {
			kept = append(kept, s)
		}
	}
	p.Steps = kept
}

// line is a step as explain shows it.
type line struct{ who, what, at string }

// lines are the launch in its order: what the runtime does, and what the container's process does.
func (p *Plan) lines() []line {
	var out []line
	for _, n := range p.Clone.Join {
		if !n.Inside {
			out = append(out, line{"runtime", n.String(), n.At()})
		}
	}
	if p.Overlay != nil {
		out = append(out, p.Overlay.prepare()...)
	}
	out = append(out, line{"runtime", "make the cgroup and set its limits", "linux.cgroupsPath"})
	for _, n := range p.Network {
		out = append(out, line{"runtime", n.String(), n.At()})
	}
	out = append(out, line{"runtime", p.Clone.String(), p.Clone.At()})
	for _, s := range p.Steps {
		if a, ok := s.(Await); ok {
			for _, d := range p.byRuntime(a.Stage) {
				out = append(out, line{"runtime", d.String(), d.At()})
			}
		}
		out = append(out, line{"container", s.String(), s.At()})
	}
	return out
}

// byRuntime is what the runtime does at a stage, as far as that has steps.
func (p *Plan) byRuntime(s Stage) (steps []Step) {
	switch s {
	case StageScheduling:
		return p.Scheduling
	case StageNetDevices:
		for _, d := range p.NetDevices {
			steps = append(steps, d)
		}
	}
	return steps
}

// AppendText prints the plan, a step a line: number, who does it, what, and the place in config.json that asks for it.
func (p *Plan) AppendText(b []byte) []byte {
	lines := p.lines()
	wide := 0
	for _, l := range lines {
		wide = max(wide, len(l.what))
	}
	wide = min(wide, 80)
	for i, l := range lines {
		b = fmt.Appendf(b, "%3d  %-9s  %-*s  %s\n", i+1, l.who, wide, l.what, l.at)
	}
	for _, w := range p.Warnings {
		b = append(b, "warning: "+w+"\n"...)
	}
	return b
}

// AppendJSON prints the same as one JSON object: {"steps":[{"number","actor","step","origin"}],"warnings":[…]}.
func (p *Plan) AppendJSON(b []byte) []byte {
	w := wire.NewWriter(b, "  ")
	w.BeginObject()
	w.Key("steps")
	w.BeginArray()
	for i, l := range p.lines() {
		w.BeginObject()
		w.Key("number")
		w.Int(int64(i + 1))
		w.Key("actor")
		w.String(l.who)
		w.Key("step")
		w.String(l.what)
		w.Key("origin")
		w.String(l.at)
		w.EndObject()
	}
	w.EndArray()
	if len(p.Warnings) > 0 {
		w.Key("warnings")
		w.Strings(p.Warnings)
	}
	w.EndObject()
	return append(w.Bytes(), '\n')
}
