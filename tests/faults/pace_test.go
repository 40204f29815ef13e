package faults

import (
	"fmt"
	"hash/fnv"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// class is how much a place is like others of the same operation, here or with another bundle. Where time is limited, what
// is new comes first.
type class int

const (
	// novel is a point, a step, or a system call on a path through the code, that has not been stopped in this way.
	novel class = iota
	// detail is an instruction of a step, or a second call on the same path.
	detail
	// again is what is like a place that is one of these.
	again
	classes
)

func (c class) String() string {
	return [...]string{"first of their kind", "details", "like those"}[c]
}

// pace is what there is to do, and the time for it.
type pace struct {
	end         time.Time // zero: no limit
	last        class     // those up to this one are tried, in this round
	turns       int       // operations that are to come in this round
	part, parts int       // the places are shared out among several runs
	only        []string  // bundles; if not nil, others' places are only looked for
	unseen      []string  // operations for which there was no time to see what places there are
	seen        map[string]bool
	all, did    [classes]int
	found       map[string]*sweepPlaces // by fixture and operation
	order       []string                // of them
	spent       map[string]time.Duration
}

// on counts the time since begin as spent on something, and returns the time.
func (p *pace) on(what string, begin time.Time) time.Time {
	now := time.Now()
	p.spent[what] += now.Sub(begin)
	return now
}

// sweepPlaces are the places of an operation on a fixture that are still to be tried.
type sweepPlaces struct {
	left [classes]map[string][]place // by their kind
}

func (l *sweepPlaces) count(c class) (n int) {
	for _, places := range l.left[c] {
		n += len(places)
	}
	return n
}

func newPace(t *testing.T) *pace {
	p := &pace{last: again, seen: map[string]bool{}, found: map[string]*sweepPlaces{}, spent: map[string]time.Duration{}}
	if v := os.Getenv("VSRUN_TEST_TIME"); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			t.Fatalf("VSRUN_TEST_TIME: %v", err)
		}
		p.end = time.Now().Add(d)
	}
	if v := os.Getenv("VSRUN_TEST_PART"); v != "" {
		if n, err := fmt.Sscanf(v, "%d/%d", &p.part, &p.parts); n != 2 || err != nil || p.part < 1 || p.part > p.parts {
			t.Fatalf("VSRUN_TEST_PART=%s: want a number, a slash, and the number of parts", v)
		}
	}
	if v := os.Getenv("VSRUN_TEST_BUNDLES"); v != "" {
		p.only = strings.Split(v, ",")
	}
	return p
}

// others tells if a bundle's places are another run's.
func (p *pace) others(bundle string) bool { return p.only != nil && !slices.Contains(p.only, bundle) }

// rounds are what is tried one after the other, with all bundles.
func (p *pace) rounds() []class {
	if p.end.IsZero() {
		return []class{again}
	}
	return []class{novel, detail, again}
}

// until is when an operation has to give way to the next one: what is like what was tried shares what time is left.
func (p *pace) until() time.Time {
	p.turns--
	if p.end.IsZero() || p.last != again {
		return p.end
	}
	return time.Now().Add(time.Until(p.end) / time.Duration(p.turns+1))
}

func (p *pace) over() bool { return !p.end.IsZero() && time.Now().After(p.end) }

// sort takes the places of a sweep that are this run's, by class.
func (p *pace) sort(name string, kinds map[string][]place) *sweepPlaces {
	l := &sweepPlaces{}
	for c := range l.left {
		l.left[c] = map[string][]place{}
	}
	bundle, _, _ := strings.Cut(name, " ")
	for kind, places := range kinds {
		for _, pl := range places {
			c := novel
			switch {
			case p.seen[pl.like]:
				c = again
			case pl.detail:
				c = detail
			}
			p.seen[pl.like] = true
			if p.others(bundle) || !p.mine(name+" "+pl.String()) {
				continue
			}
			l.left[c][kind] = append(l.left[c][kind], pl)
			p.all[c]++
		}
	}
	p.found[name] = l
	p.order = append(p.order, name)
	return l
}

// mine tells if a place is of this run's part.
func (p *pace) mine(place string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(place))
	return p.parts < 2 || int(h.Sum32()>>4)%p.parts == p.part-1
}

// cut says that time was too short even for one place of each kind, "" if it was not.
func (p *pace) cut() string {
	switch {
	case p.did[novel] < p.all[novel] && len(p.unseen) > 0:
		return fmt.Sprintf("cut short by its limit of time: %d of %d places that are the first of their kind were tried, and none of %d operations'",
			p.did[novel], p.all[novel], len(p.unseen))
	case p.did[novel] < p.all[novel]:
		return fmt.Sprintf("cut short by its limit of time: %d of %d places that are the first of their kind were tried", p.did[novel], p.all[novel])
	case len(p.unseen) > 0:
		return fmt.Sprintf("cut short by its limit of time: no place of %d operations was tried", len(p.unseen))
	}
	return ""
}

// report tells how many of the places there are were tried, and which were not.
func (p *pace) report() {
	for _, what := range slices.Sorted(maps.Keys(p.spent)) {
		fmt.Printf("note: time for %s: %v\n", what, p.spent[what].Round(time.Second))
	}
	for c := range classes {
		fmt.Printf("note: places, %s: %d of %d tried\n", c, p.did[c], p.all[c])
	}
	if len(p.unseen) > 0 {
		fmt.Printf("note: no time to see what places there are: %s\n", strings.Join(p.unseen, ", "))
	}
	for c := range classes {
		var names []string
		for _, name := range p.order {
			if n := p.found[name].count(c); n > 0 {
				names = append(names, fmt.Sprintf("%s %d", name, n))
			}
		}
		if len(names) > 0 {
			fmt.Printf("note: places, %s, not tried: %s\n", c, strings.Join(names, ", "))
		}
	}
}
