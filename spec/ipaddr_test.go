package spec

import (
	"net/netip"
	"strconv"
	"testing"
)

func TestParseIP(t *testing.T) {
	for in, want := range map[string]string{
		"10.0.0.1": "10.0.0.1/32", "10.0.0.1/8": "10.0.0.1/8", "255.255.255.255/0": "255.255.255.255/0", "::1": "::1/128", "fd00::1/64": "fd00::1/64",
		"1:2:3:4:5:6:7:8": "1:2:3:4:5:6:7:8/128", "::": "::/128", "1::": "1::/128", "1:2:3:4:5:6:7::": "1:2:3:4:5:6:7:0/128", "::2:3:4:5:6:7:8": "0:2:3:4:5:6:7:8/128",
		"2001:DB8::1:0:0:1": "2001:db8::1:0:0:1/128", "64:ff9b::10.0.0.1": "64:ff9b::a00:1/128", "fe80::0:0:1": "fe80::1/128", "1:0:0:2:0:0:0:3": "1:0:0:2::3/128",
	} {
		a, ok := ParseIP(in)
		if got := a.String() + "/" + strconv.Itoa(int(a.Bits)); !ok || got != want {
			t.Errorf("%s: %s %v, want %s", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "/", "1", "1.2.3", "1.2.3.4.5", "1.2.3.04", "1.2.3.256", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/08", "1.2.3.4/-1", "1.2.3.4/ 8", " 1.2.3.4", "1.2.3.4 ",
		":", ":::", "1:", ":1", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::1:2:3:4:5:6:7:8", "12345::", "g::", "::1%lo", "::/129", "::ffff:1.2.3.4", "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4", "1.2.3.4::", "::1.2.3.4:5", "::1/64/64"} {
		if a, ok := ParseIP(in); ok {
			t.Errorf("%q is taken: %s", in, a.String())
		}
	}
}

// The standard library's package is the authority.
func FuzzParseIP(f *testing.F) {
	for _, s := range []string{"1.2.3.4", "::", "1:2::3", "::ffff:1.2.3.4", "1:2:3:4:5:6:1.2.3.4", "fe80::1/10"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := ParseIP(s)
		var want netip.Prefix
		addr, err := netip.ParseAddr(s)
		if err == nil {
			want = netip.PrefixFrom(addr, addr.BitLen())
		} else {
			want, err = netip.ParsePrefix(s)
		}
		good := err == nil && addr.Zone() == "" && !want.Addr().Is4In6()
		if ok != good {
			t.Fatalf("%q: %v, want %v", s, ok, good)
		}
		if !ok {
			return
		}
		if a.Addr != want.Addr().As16() || int(a.Bits) != want.Bits() || a.String() != want.Addr().String() {
			t.Errorf("%q: %s/%d, want %s", s, a.String(), a.Bits, want)
		}
	})
}
