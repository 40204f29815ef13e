package spec

import (
	"strconv"
	"strings"
)

// maxListed is the highest number that a list of CPUs or memory nodes may hold:
// the most CPUs that the kernel can be built for (NR_CPUS) less one.
const maxListed = 8191

// ParseList reads a list of CPUs or memory nodes, "0-3,7", and calls f with the
// first and last of each range. f may be nil. An empty list is fine. The error
// is a message about s that begins with a verb: "must be ...".
func ParseList(s string, f func(first, last int)) error {
	s = strings.Trim(s, " \n")
	if s == "" {
		return nil
	}
	for part := range strings.SplitSeq(s, ",") {
		lo, hi, isRange := strings.Cut(part, "-")
		first, ok := listNumber(lo)
		last := first
		if isRange && ok {
			last, ok = listNumber(hi)
		}
		switch {
		case !ok:
			return listError("must be a list of numbers and ranges, like 0-3,7 (got " + quote(s) + ")")
		case last < first:
			return listError("has a range that ends before it begins: " + part)
		case last > maxListed:
			return listError("goes beyond " + strconv.Itoa(maxListed) + ": " + part)
		}
		if f != nil {
			f(first, last)
		}
	}
	return nil
}

type listError string

func (e listError) Error() string { return string(e) }

func listNumber(s string) (int, bool) {
	if !digits(s) {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		n = maxListed + 1
	}
	return n, true
}

func (c *checker) list(l loc, s string) {
	if err := ParseList(s, nil); err != nil {
		c.faultAt(l, err.Error())
	}
}
