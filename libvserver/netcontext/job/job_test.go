package job

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	maps2 "maps"
	"os"
	"slices"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/vsrun/vsrun/libvserver/netcontext"
)

// TestVerifier has the kernel check all programs, with and without what only newer ones have.
func TestVerifier(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: BPF programs are loaded")
	}
	made := map[string]*ebpf.Map{}
	for _, s := range mapSpecs() {
		m, err := ebpf.NewMap(s)
		if err != nil {
			t.Fatalf("map %s: %v", s.Name, err)
		}
		defer m.Close()
		made[s.Name] = m
	}
	for _, retval := range []bool{true, false} {
		m := &maps{storage: made[netcontext.MapStorage].FD(), sockets: made[netcontext.MapSockets].FD(), counted: made[netcontext.MapCounted].FD(), listeners: made[netcontext.MapListeners].FD(), owners: made[netcontext.MapOwners].FD(), hints: made[netcontext.MapHints].FD(), setRetval: retval}
		insns := instructions(m)
		for i := range netcontext.Programs {
			p := &netcontext.Programs[i]
			prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "t_" + p.Name, Type: progType(p), AttachType: ebpf.AttachType(p.Attach), Instructions: insns[p.Name], License: "Apache-2.0"})
			if err != nil {
				t.Errorf("%s: %+v", p.Name, err)
				continue
			}
			info, _ := prog.Info()
			n, _ := info.VerifiedInstructions()
			t.Logf("%s: %d instructions, %d verified", p.Name, len(insns[p.Name]), n)
			prog.Close()
		}
		prog, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: "t_lookup", Type: ebpf.SkLookup, AttachType: ebpf.AttachSkLookup, Instructions: skLookup(m, 5), License: "Apache-2.0"})
		if err != nil {
			t.Fatalf("lookup: %+v", err)
		}
		prog.Close()
		for _, ether := range []bool{false, true} {
			if prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "t_udp", Type: ebpf.SchedCLS, Instructions: udpIngress(m, 5, ether), License: "Apache-2.0"}); err != nil {
				t.Fatalf("udp, ether %v: %+v", ether, err)
			}
			prog.Close()
		}
	}
}

// TestABI holds netcontext.ABI to the programs and maps: what is pinned by another version must not be taken for this one's.
// Who changes them gives it another name, and this test the new digest.
func TestABI(t *testing.T) {
	const digest = "2c116a6c367740df"
	m := &maps{setRetval: true}
	h := sha256.New()
	list := instructions(m)
	list["lookup"], list["udp"], list["ether"] = skLookup(m, 1), udpIngress(m, 1, false), udpIngress(m, 1, true)
	for _, name := range slices.Sorted(maps2.Keys(list)) {
		fmt.Fprintln(h, name, list[name])
	}
	for _, s := range mapSpecs() {
		fmt.Fprintln(h, s.Name, s.Type, s.KeySize, s.ValueSize, s.MaxEntries, s.Flags)
	}
	if got := hex.EncodeToString(h.Sum(nil)[:8]); got != digest {
		t.Errorf("digest %s, and %s belongs to netcontext.ABI %s", got, digest, netcontext.ABI)
	}
}
