package spec

import "strconv"

// IPAddress is an IPv4 or IPv6 address and the length of its network's prefix.
// It stands in for net/netip, which the program does not link: see
// CONTRIBUTING.md, "The hot path".
type IPAddress struct {
	Addr [16]byte // IPv4: as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2)
	Bits uint8    // of the prefix: up to 32 for IPv4, 128 for IPv6
}

// Is4 reports whether a is an IPv4 address.
func (a *IPAddress) Is4() bool {
	for _, b := range a.Addr[:10] {
		if b != 0 {
			return false
		}
	}
	return a.Addr[10] == 0xff && a.Addr[11] == 0xff
}

// String is the address without the prefix, in the form of RFC 5952.
func (a *IPAddress) String() string {
	if a.Is4() {
		var s []byte
		for i, b := range a.Addr[12:] {
			if i > 0 {
				s = append(s, '.')
			}
			s = strconv.AppendUint(s, uint64(b), 10)
		}
		return string(s)
	}
	var w [8]uint16
	for i := range w {
		w[i] = uint16(a.Addr[2*i])<<8 | uint16(a.Addr[2*i+1])
	}
	from, to := -1, -1 // the longest run of zeros, of two at least
	for i := 0; i < 8; i++ {
		j := i
		for j < 8 && w[j] == 0 {
			j++
		}
		if j-i > max(1, to-from) {
			from, to = i, j
		}
		i = max(i, j-1)
	}
	var s []byte
	for i := 0; i < 8; i++ {
		if i == from {
			s = append(s, "::"...)
			i = to - 1
			continue
		}
		if i > 0 && i != to {
			s = append(s, ':')
		}
		s = strconv.AppendUint(s, uint64(w[i]), 16)
	}
	return string(s)
}

// ParseIP reads an address, with or without a prefix length; without one it is
// as long as the address.
func ParseIP(text string) (IPAddress, bool) {
	addr, bits, prefix := text, "", false
	for i := range len(text) {
		if text[i] == '/' {
			addr, bits, prefix = text[:i], text[i+1:], true
			break
		}
	}
	var a IPAddress
	longest := uint64(128)
	if parse4(addr, a.Addr[12:]) {
		a.Addr[10], a.Addr[11], longest = 0xff, 0xff, 32
	} else if !parse6(addr, &a.Addr) || a.Is4() { // IPv4 is written as IPv4
		return a, false
	}
	n := longest
	if prefix {
		var msg string
		if msg = number(bits, 0, longest, &n); msg != "" || len(bits) > 1 && bits[0] == '0' {
			return a, false
		}
	}
	a.Bits = uint8(n)
	return a, true
}

// parse4 reads four decimal numbers without leading zeros, which some readers
// take for octal ones.
func parse4(s string, to []byte) bool {
	i := 0
	for part := 0; part < 4; part++ {
		if part > 0 {
			if i >= len(s) || s[i] != '.' {
				return false
			}
			i++
		}
		n, digits := 0, 0
		for ; i < len(s) && s[i] >= '0' && s[i] <= '9'; i++ {
			if digits > 0 && n == 0 || digits == 3 {
				return false
			}
			n, digits = n*10+int(s[i]-'0'), digits+1
		}
		if digits == 0 || n > 255 {
			return false
		}
		to[part] = byte(n)
	}
	return i == len(s)
}

// parse6 reads groups of hexadecimal digits, "::" for some that are zero, and
// perhaps an IPv4 address at the end.
func parse6(s string, to *[16]byte) bool {
	n, gap := 0, -1 // bytes read, and where the zeros go
	if len(s) >= 2 && s[0] == ':' && s[1] == ':' {
		gap, s = 0, s[2:]
	}
	for len(s) > 0 {
		if n == 16 {
			return false
		}
		v, i := 0, 0
		for ; i < len(s) && i < 5; i++ {
			d := hexDigit(s[i])
			if d < 0 {
				break
			}
			v = v<<4 | d
		}
		if i == 0 || i > 4 {
			return false
		}
		if i < len(s) && s[i] == '.' {
			if n > 12 || !parse4(s, to[n:n+4]) {
				return false
			}
			n += 4
			break
		}
		to[n], to[n+1] = byte(v>>8), byte(v)
		n += 2
		s = s[i:]
		if s == "" {
			break
		}
		if s[0] != ':' || len(s) == 1 {
			return false
		}
		if s = s[1:]; s[0] == ':' {
			if gap >= 0 {
				return false
			}
			gap, s = n, s[1:]
		}
	}
	if gap < 0 {
		return n == 16
	}
	if n > 14 {
		return false
	}
	copy(to[gap+16-n:], to[gap:n])
	clear(to[gap : gap+16-n])
	return true
}

func hexDigit(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}
