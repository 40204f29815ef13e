package wire

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// request is a message with every kind of part.
func request() ([]byte, *Profile) {
	b := AppendHeader(nil, Action{Errno, 0x1234})
	b = append(b, 2, byte(X86_64), byte(SHEB))
	b = AppendUint32(b, 2)
	b = AppendAction(b, Action{Notify, 0})
	b = append(b, 1, 5, byte(MaskedEqual))
	b = AppendUint64(b, 0x0123456789abcdef)
	b = AppendUint64(b, 1<<63)
	b = AppendUint16(b, 2)
	b = append(b, "\x04read\x05write"...)
	b = AppendAction(b, Action{KillThread, 0})
	b = append(b, 0)
	b = AppendUint16(b, 1)
	b = append(b, "\x01x"...)
	return b, &Profile{
		Default: Action{Errno, 0x1234},
		Archs:   []Arch{X86_64, SHEB},
		Groups: []Group{
			{Action{Notify, 0}, []Cond{{5, MaskedEqual, 0x0123456789abcdef, 1 << 63}}, []string{"read", "write"}},
			{Action{KillThread, 0}, nil, []string{"x"}},
		},
	}
}

func TestDecode(t *testing.T) {
	b, want := request()
	got, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("profile (-want +got):\n%s", diff)
	}
}

func TestDecodeFaults(t *testing.T) {
	good, _ := request()
	for n := range good {
		if _, err := Decode(good[:n]); err == nil {
			t.Errorf("the first %d of %d bytes pass", n, len(good))
		}
	}
	if _, err := Decode(append(good, 0)); err != errTrail {
		t.Errorf("a byte more: %v", err)
	}
	for _, tc := range []struct {
		at   int
		to   byte
		want error
	}{
		{2, 'A', errMagic}, {3, Version + 1, errMagic},
		{4, 0, errUnknown}, {4, byte(Notify) + 1, errUnknown},
		{8, 0, errUnknown}, {9, byte(ArchEnd), errUnknown},
		{18, 6, errUnknown}, {19, byte(MaskedEqual) + 1, errUnknown},
	} {
		b, _ := request()
		b[tc.at] = tc.to
		if _, err := Decode(b); err != tc.want {
			t.Errorf("byte %d = %d: %v, want %v", tc.at, tc.to, err, tc.want)
		}
	}
}

func TestAnswer(t *testing.T) {
	b := AppendAnswer(nil, []byte("12345678"), []byte("a\x00"))
	insns, unknown, err := DecodeAnswer(b)
	if err != nil || string(insns) != "12345678" || string(unknown) != "a\x00" {
		t.Errorf("%q %q %v", insns, unknown, err)
	}
	for n := range b {
		if _, _, err := DecodeAnswer(b[:n]); err == nil {
			t.Errorf("the first %d bytes pass", n)
		}
	}
	if _, _, err := DecodeAnswer(append(b, 0)); err != errTrail {
		t.Errorf("a byte more: %v", err)
	}
}

func FuzzDecode(f *testing.F) {
	b, _ := request()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Decode(b)
		if (p == nil) == (err == nil) {
			t.Errorf("profile %v, error %v", p, err)
		}
	})
}
