package netcontext

import (
	"strings"
	"testing"
)

// Images come from elsewhere: what does not read as SaveSockets writes it is refused before any socket is touched.
func TestSavedDamaged(t *testing.T) {
	c := &Context{}
	for _, text := range []string{"1 9 x\n", "1\n", "\n", "1 3 2 0\n", "1 3 2 0 0 0\n", "1 3 1 0 0\n", "1 3 64 0 0\n", "1 3 4294967296 0 0\n", "1 3 -2 0 0\n", "1 3 2 0 0\n1 3"} {
		if err := c.RestoreSockets([]byte(text), nil); err == nil || !strings.Contains(err.Error(), "damaged at") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if err := c.RestoreSockets(nil, []int{1}); err != nil {
		t.Errorf("no sockets: %v", err)
	}
}
