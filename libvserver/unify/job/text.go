package job

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/vsrun/vsrun/libvserver/unify"
)

// shown is a name or what has names in it as a terminal may get it: a guest's files can be called anything, also what a
// terminal obeys, or what looks like another line.
func shown(s string) string {
	if q := strconv.Quote(s); len(q) != len(s)+2 {
		return q
	}
	return s
}

// keptShown is how many files that were left alone are named; JSON has all.
const keptShown = 10

func unifyText(b *strings.Builder, res *unify.Result) {
	for _, n := range res.Notes {
		fmt.Fprintf(b, "note: %s\n", shown(n))
	}
	done := 0
	for _, t := range res.Trees {
		fmt.Fprintf(b, "%s: %s", shown(t.Path), t.Status)
		switch t.Status {
		case "unified", "would be unified":
			done++
			fmt.Fprintf(b, ", %d files, %s", t.Files, unify.Size(t.Bytes))
		case "failed":
			fmt.Fprintf(b, ": %s", shown(t.Error))
		}
		b.WriteString("\n")
		named := 0
		excluded := 0
		for _, k := range t.Kept {
			if k.Reason == "excluded" || k.Reason == "too small" {
				excluded++
				continue
			}
			if named++; named <= keptShown {
				fmt.Fprintf(b, "  left alone: %s (%s)\n", shown(k.Path), k.Reason)
			}
		}
		if named > keptShown {
			fmt.Fprintf(b, "  left alone: %d more\n", named-keptShown)
		}
		if excluded > 0 {
			fmt.Fprintf(b, "  left alone: %d files that are excluded\n", excluded)
		}
	}
	if done == 0 {
		return
	}
	would := ""
	if res.DryRun {
		would = "would be "
	}
	in := ""
	if res.Store != "" {
		in = " in " + res.Store
	}
	fmt.Fprintf(b, "%d contents %sshared%s, %d of them new; %s on disk become %s", res.Shared, would, in, res.New,
		unify.Size(res.Bytes), unify.Size(res.After))
	if res.Meta > 0 {
		fmt.Fprintf(b, " and %s of metadata", unify.Size(res.Meta))
	}
	if res.Saved >= 0 {
		fmt.Fprintf(b, ": %s saved", unify.Size(uint64(res.Saved)))
	}
	fmt.Fprintf(b, " (%.1f s)\n", res.Seconds)
	if res.Healed > 0 {
		fmt.Fprintf(b, "%d damaged objects were replaced\n", res.Healed)
	}
}

func ununifyText(b *strings.Builder, res *unify.Result) {
	for _, n := range res.Notes {
		fmt.Fprintf(b, "note: %s\n", shown(n))
	}
	for _, t := range res.Trees {
		fmt.Fprintf(b, "%s: %s", shown(t.Path), t.Status)
		if t.Files > 0 {
			fmt.Fprintf(b, ", %d files, %s", t.Files, unify.Size(t.Bytes))
		}
		b.WriteString("\n")
	}
}

func infoText(b *strings.Builder, v *unify.Info) {
	fmt.Fprintf(b, "store       %s\n", v.Store)
	fmt.Fprintf(b, "objects     %d, %s on disk, %d sealed\n", v.Objects, unify.Size(v.ObjectBytes), v.Sealed)
	if v.Links > 0 {
		fmt.Fprintf(b, "links       %d, %s on disk\n", v.Links, unify.Size(v.LinkBytes))
	}
	fmt.Fprintf(b, "trees       %d distinct, of %d guests, %d files\n", v.Trees, v.Guests, v.Files)
	fmt.Fprintf(b, "metadata    %s on disk", unify.Size(v.MetaBytes))
	if v.ObjectBytes > 0 && v.Trees > 0 {
		fmt.Fprintf(b, ", %.2f %% of a tree for each", 100*float64(v.MetaBytes)/float64(v.Trees)/
			max(1, float64(v.PlainBytes)/max(1, float64(v.Guests))))
	}
	b.WriteString("\n")
	if v.KeptBytes > 0 {
		fmt.Fprintf(b, "not shared  %s\n", unify.Size(v.KeptBytes))
	}
	fmt.Fprintf(b, "references  %d\n", v.References)
	if v.SavedBytes >= 0 {
		fmt.Fprintf(b, "saved       %s\n", unify.Size(uint64(v.SavedBytes)))
	}
	fmt.Fprintf(b, "unused      %d, %s: vsrun store gc frees them\n", v.Unused, unify.Size(v.UnusedBytes))
	fmt.Fprintf(b, "missing     %d\n", v.Missing)
}

func listText(b *strings.Builder, list []unify.ListEntry) {
	fmt.Fprintf(b, "%-16s %7s %8s %9s %9s %9s %7s\n", "TREE", "GUESTS", "FILES", "OBJECTS", "METADATA", "UNSHARED", "MISSING")
	for _, t := range list {
		fmt.Fprintf(b, "%-16s %7d %8d %9s %9s %9s %7d\n", t.Digest[:16], t.Guests, t.Files, unify.Size(t.Bytes), unify.Size(t.MetaBytes),
			unify.Size(t.KeptBytes), t.Missing)
	}
}

func gcText(b *strings.Builder, v *unify.GCResult) {
	for _, n := range v.Notes {
		fmt.Fprintf(b, "note: %s\n", shown(n))
	}
	verb := "removed"
	if v.DryRun {
		verb = "would remove"
	}
	fmt.Fprintf(b, "%s %d metadata trees and %d objects, %s\n", verb, v.Trees, v.Objects, unify.Size(v.Bytes))
}

func verifyText(b *strings.Builder, v *unify.VerifyResult) {
	links := ""
	if v.Links > 0 {
		links = fmt.Sprintf(", %d links", v.Links)
	}
	fmt.Fprintf(b, "%d objects%s, %s, %d sealed\n", v.Objects, links, unify.Size(v.Bytes), v.Sealed)
	damages(b, "damaged", v.Damaged)
	damages(b, "missing", v.Missing)
}

// damageShown is how many objects are named; JSON has all.
const damageShown = 20

func damages(b *strings.Builder, what string, list []unify.Damage) {
	for i, d := range list {
		if i == damageShown {
			fmt.Fprintf(b, "%s: %d more\n", what, len(list)-i)
			return
		}
		fmt.Fprintf(b, "%s: %s: %s\n", what, d.Object, d.Why)
		for _, f := range d.Files {
			fmt.Fprintf(b, "  %s\n", shown(f))
		}
	}
}
