package cli

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// column is one column of a table.
type column struct {
	name string
	left bool // words; numbers stand on the right
}

// appendTable appends columns as wide as what is in them, two spaces apart. A row has a cell for each.
func appendTable(b []byte, columns []column, rows [][]string) []byte {
	width := make([]int, len(columns))
	for i, c := range columns {
		width[i] = utf8.RuneCountInString(c.name)
		for _, r := range rows {
			width[i] = max(width[i], utf8.RuneCountInString(r[i]))
		}
	}
	line := func(cell func(i int) string) {
		for i, c := range columns {
			s := cell(i)
			pad := width[i] - utf8.RuneCountInString(s)
			if !c.left {
				b = appendSpaces(b, pad)
			}
			b = append(b, s...)
			if i == len(columns)-1 {
				break
			}
			if c.left {
				b = appendSpaces(b, pad)
			}
			b = append(b, "  "...)
		}
		b = append(b, '\n')
	}
	line(func(i int) string { return columns[i].name })
	for _, r := range rows {
		line(func(i int) string { return r[i] })
	}
	return b
}

func appendSpaces(b []byte, n int) []byte {
	for ; n > 0; n-- {
		b = append(b, ' ')
	}
	return b
}

// bytesText gives a number of bytes in three or four digits: 0, 512, 1.5K, 23M.
func bytesText(n uint64) string {
	if n < 1024 {
		return strconv.FormatUint(n, 10)
	}
	v := float64(n)
	unit := 0
	for v >= 1024 && unit < 6 {
		v /= 1024
		unit++
	}
	if v >= 999.5 && unit < 6 { // would be four digits
		v /= 1024
		unit++
	}
	digits := 0
	if v < 9.95 {
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " KMGTPE"[unit:unit+1]
}

// timeText gives a time of use as ps does: 0:00.42, 12:03.10, 3:05:00.
func timeText(d time.Duration) string {
	cs := d / (10 * time.Millisecond)
	h, m, s := cs/360000, cs/6000%60, cs/100%60
	if h > 0 {
		return strconv.Itoa(int(h)) + ":" + two(m) + ":" + two(s)
	}
	return strconv.Itoa(int(m)) + ":" + two(s) + "." + two(cs%100)
}

func two(n time.Duration) string {
	return string([]byte{'0' + byte(n/10%10), '0' + byte(n%10)})
}

// ageText gives a time span in its two largest units: 42s, 5m03s, 7h12m, 3d04h.
func ageText(d time.Duration) string {
	s := d / time.Second
	switch {
	case s < 0:
		return "0s"
	case s < 60:
		return strconv.Itoa(int(s)) + "s"
	case s < 3600:
		return strconv.Itoa(int(s/60)) + "m" + two(s%60) + "s"
	case s < 86400:
		return strconv.Itoa(int(s/3600)) + "h" + two(s/60%60) + "m"
	default:
		return strconv.Itoa(int(s/86400)) + "d" + two(s/3600%24) + "h"
	}
}
