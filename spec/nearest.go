package spec

import "strings"

// nearest returns the name that s is probably a misspelling of: the one that
// takes the fewest changes of a letter, at most a third of them and at most 3;
// or one that s is the beginning of. Letter case counts for nothing, nor does
// what all names begin with ("RLIMIT_"). "" if there is none.
func nearest(s string, names []string) string {
	prefix := commonPrefix(names)
	s = strings.TrimPrefix(strings.ToLower(s), prefix)
	best, bestName := min(3, len(s)/3)+1, ""
	for _, n := range names {
		low := strings.ToLower(n)[len(prefix):]
		if d := editDistance(s, low, best); d < best {
			best, bestName = d, n
		}
	}
	if bestName == "" && len(s) >= 3 {
		for _, n := range names {
			if strings.HasPrefix(strings.ToLower(n)[len(prefix):], s) {
				return n
			}
		}
	}
	return bestName
}

// commonPrefix returns what all names begin with, in lower case; nothing for
// one name.
func commonPrefix(names []string) string {
	if len(names) < 2 {
		return ""
	}
	p := strings.ToLower(names[0])
	for _, n := range names[1:] {
		for !strings.HasPrefix(strings.ToLower(n), p) {
			p = p[:len(p)-1]
		}
	}
	return p
}

// editDistance counts the letters to insert, remove, replace or swap with their
// neighbour that turn a into b; limit or more if there are that many.
func editDistance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 64 {
		return limit
	}
	prev2 := make([]int, len(b)+1)
	prev := make([]int, len(b)+1)
	cur := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], prev2[j-2]+1)
			}
		}
		prev2, prev, cur = prev, cur, prev2
	}
	return prev[len(b)]
}
