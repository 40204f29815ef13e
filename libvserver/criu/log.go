package criu

import (
	"os"
	"strings"
)

// Quote is what is worth reading of CRIU's log.
type Quote struct {
	// Lines are the last errors and warnings.
	Lines []string
	// Cause is the text of the first error that is not known to be harmless: what followed it followed from it.
	Cause string
}

// ReadLog quotes at most max lines of the log of a failed dump or restore. A log that can't be read says nothing.
func ReadLog(file string, max int) (q Quote) {
	b, err := os.ReadFile(file)
	if err != nil {
		return q
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimRight(line, "\n")
		level, text, ok := parseLine(line)
		if !ok {
			continue
		}
		q.Lines = append(q.Lines, line)
		if len(q.Lines) > max {
			q.Lines = q.Lines[1:]
		}
		if level == "Error" && q.Cause == "" && !harmless(text) {
			q.Cause = text
		}
	}
	return q
}

// parseLine takes a line like `(00.140229)      7: Error (criu/files-reg.c:1790): text` apart, if it is an error or a
// warning.
func parseLine(line string) (level, text string, ok bool) {
	rest, ok := strings.CutPrefix(line, "(")
	if !ok {
		return "", "", false
	}
	if _, rest, ok = strings.Cut(rest, ")"); !ok {
		return "", "", false
	}
	rest = strings.TrimLeft(rest, " ")
	if pid, after, ok := strings.Cut(rest, ": "); ok && strings.Trim(pid, "0123456789") == "" {
		rest = strings.TrimLeft(after, " ")
	}
	level, rest, ok = strings.Cut(rest, " ")
	if !ok || level != "Error" && level != "Warn" {
		return "", "", false
	}
	rest = strings.TrimLeft(rest, " ")
	if strings.HasPrefix(rest, "(") {
		if _, after, ok := strings.Cut(rest, "): "); ok {
			rest = after
		}
	}
	return level, rest, true
}

// harmless tells errors that CRIU goes on after.
func harmless(text string) bool {
	return strings.HasPrefix(text, "rlimit: Can't setup RLIMIT_NOFILE")
}
