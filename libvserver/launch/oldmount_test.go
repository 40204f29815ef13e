package launch

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOldData(t *testing.T) {
	got := oldData([]string{"lowerdir=/a:/b", "context=u:r:t:s0:c1,c2", "rootcontext=u:r:t:s0", "x"})
	if want := `lowerdir=/a:/b,context="u:r:t:s0:c1,c2",rootcontext=u:r:t:s0,x`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestLayers(t *testing.T) {
	long := strings.Repeat("l", maxOption+1)
	for _, c := range []struct {
		in, want []string
		fault    string
	}{
		{in: []string{"lowerdir=/a:/b", "index=off"}, want: []string{"lowerdir+=/a", "lowerdir+=/b", "index=off"}},
		{in: []string{"lowerdir=/a"}, want: []string{"lowerdir+=/a"}},
		{in: []string{`lowerdir=/a\:b:/c\\d`}, want: []string{"lowerdir+=/a:b", `lowerdir+=/c\d`}},
		{in: []string{"lowerdir=/a:/b::/data:/more"}, want: []string{"lowerdir+=/a", "lowerdir+=/b", "datadir+=/data", "datadir+=/more"}},
		{in: []string{"lowerdir=/a::/data::/more"}, want: []string{"lowerdir+=/a", "datadir+=/data", "datadir+=/more"}},
		{in: []string{"lowerdir=/a:" + long}, fault: "layer"},
		{in: []string{"lowerdir=/a", "upperdir=" + long}, fault: "upperdir"},
	} {
		got, err := layers(c.in)
		if c.fault != "" {
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%.40q: %v, want a fault with %q", c.in, err, c.fault)
			}
			continue
		}
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%q: %v %s", c.in, err, d)
		}
	}
}

func TestDecimal(t *testing.T) {
	p := &Program{}
	for n, want := range map[uintptr]string{0: "0", 7: "7", 10: "10", 1023: "1023", 4294967295: "4294967295"} {
		b := p.bytes(16)
		for i := range b {
			b[i] = 'x'
		}
		decimal(address(b), n)
		if got := string(b[:len(want)+1]); got != want+"\x00" {
			t.Errorf("%d is %q", n, got)
		}
	}
}
