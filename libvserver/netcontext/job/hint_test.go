package job

import (
	"encoding/binary"
	"os"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// The programs find a listener's hint where netcontext, which restores listeners, puts it.
func TestHint(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: BPF programs are run")
	}
	for _, k := range []netcontext.ListenerKey{
		{Port: 80, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 77, 14: 0, 15: 3}},
		{Port: 65535, Addr: [16]byte{10: 0xff, 11: 0xff, 12: 255, 13: 254, 14: 253, 15: 252}},
		{Port: 1, Addr: [16]byte{0xfd, 0x77, 7: 9, 15: 1}},
		{Port: 443, Addr: [16]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}},
	} {
		var hints *ebpf.Map
		for _, s := range mapSpecs() {
			if s.Name == netcontext.MapHints {
				var err error
				if hints, err = ebpf.NewMap(s); err != nil {
					t.Fatal(err)
				}
			}
		}
		defer hints.Close()
		p := &program{m: &maps{hints: hints.FD()}}
		p.add(asm.Mov.Imm(asm.R1, 0))
		for w := range 4 {
			p.add(asm.Mov.Imm32(asm.R2, int32(binary.NativeEndian.Uint32(k.Addr[4*w:]))), asm.Xor.Reg(asm.R1, asm.R2))
		}
		p.add(asm.Mov.Imm(asm.R2, int32(k.Port)))
		p.hint()
		p.add(asm.StoreImm(asm.R1, 0, 1, asm.Byte), asm.Mov.Imm(asm.R0, 0), asm.Return())
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.SchedCLS, Instructions: p.insns, License: "Apache-2.0"})
		if err != nil {
			t.Fatalf("%+v", err)
		}
		defer prog.Close()
		if _, _, err := prog.Test(make([]byte, 64)); err != nil {
			t.Fatal(err)
		}
		value := make([]byte, netcontext.HintsSize)
		if err := hints.Lookup(uint32(0), &value); err != nil {
			t.Fatal(err)
		}
		for i, b := range value {
			if (b != 0) != (i == k.Hint()) {
				t.Errorf("%v: the hint at %d is %d, and belongs to %d", k, i, b, k.Hint())
			}
		}
	}
}
