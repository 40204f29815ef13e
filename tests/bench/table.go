package main

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

func quantile[T int64 | time.Duration](values []T, q float64) T {
	s := slices.Clone(values)
	slices.Sort(s)
	return s[min(int(q*float64(len(s))), len(s)-1)]
}

func (f *figure) median() time.Duration { return quantile(f.Times, 0.5) }
func (f *figure) peak() int64           { return quantile(f.Peaks, 0.5) }

func ms(d time.Duration) string { return fmt.Sprintf("%.2f", float64(d)/1e6) }

func (b *bench) print(w io.Writer, rows []row) {
	var u unix.Utsname
	_ = unix.Uname(&u)
	fmt.Fprintf(w, "medians of %d interleaved rounds after %d to warm up; Linux %s, %d CPUs, cgroups %s\n", b.rounds, warmup,
		unix.ByteSliceToString(u.Release[:]), runtime.NumCPU(), harness.CgroupLayout())
	for _, s := range b.subjects {
		fmt.Fprintf(w, "%s: %s, %s\n", s.name, s.version, s.path)
	}
	for _, r := range rows {
		first := r.Figures[0]
		fmt.Fprintf(w, "\n%s\n", r.Title)
		t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
		fmt.Fprintf(t, "\t\tmedian ms\tmin\tp95\t%s is\tpeak KiB\t%s is\t\n", first.Name, first.Name)
		for _, f := range r.Figures {
			fmt.Fprintf(t, "\t%s\t%s\t%s\t%s\t%.2fx\t%d\t%.2fx\t\n", f.Name, ms(f.median()), ms(quantile(f.Times, 0)),
				ms(quantile(f.Times, 0.95)), float64(first.median())/float64(f.median()), f.peak(),
				float64(first.peak())/float64(f.peak()))
		}
		t.Flush()
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "peak: the largest single process of a round, as wait4 tells (the command, and what it waited for)")
	for _, n := range b.notes {
		fmt.Fprintln(w, n)
	}
}

func (b *bench) printJSON(w io.Writer, rows []row) error {
	type cell struct {
		Name    string  `json:"name"`
		Median  float64 `json:"median_ms"`
		Min     float64 `json:"min_ms"`
		P95     float64 `json:"p95_ms"`
		PeakKiB int64   `json:"peak_kib"`
		Ratio   float64 `json:"first_to_this"`
	}
	out := map[string]any{"rounds": b.rounds, "notes": b.notes}
	table := map[string][]cell{}
	for _, r := range rows {
		for _, f := range r.Figures {
			table[r.Title] = append(table[r.Title], cell{f.Name, float64(f.median()) / 1e6,
				float64(quantile(f.Times, 0)) / 1e6, float64(quantile(f.Times, 0.95)) / 1e6, f.peak(),
				float64(r.Figures[0].median()) / float64(f.median())})
		}
	}
	out["rows"] = table
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}
