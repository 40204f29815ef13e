package job

import (
	"strings"
	"testing"

	"github.com/vsrun/vsrun/libvserver/unify"
)

// What a guest's files are called does not reach the terminal as it is.
func TestNamesShown(t *testing.T) {
	const odd = "a\x1b]0;title\x07\nroot: unified"
	var b strings.Builder
	unifyText(&b, &unify.Result{Notes: []string{odd}, Trees: []unify.TreeResult{{Path: "/srv/gäste/web 1", Status: "failed", Error: odd, Kept: []unify.Kept{{Path: odd, Reason: "open for writing"}, {Path: "b/c", Reason: "hard links"}}}}})
	ununifyText(&b, &unify.Result{Trees: []unify.TreeResult{{Path: odd, Status: "plain"}}})
	verifyText(&b, &unify.VerifyResult{Damaged: []unify.Damage{{Object: "ab/c", Why: "why", Files: []string{odd}}}})
	if strings.ContainsAny(b.String(), "\x1b\x07") || strings.Contains(b.String(), "\nroot:") {
		t.Errorf("%q", b.String())
	}
	for _, want := range []string{"/srv/gäste/web 1: failed", `left alone: "a\x1b]0;title\a\nroot: unified" (open for writing)`, "left alone: b/c (hard links)"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in %q", want, b.String())
		}
	}
}
