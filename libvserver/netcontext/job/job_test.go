package job

import (
	"os"
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
		m := &maps{storage: made[netcontext.MapStorage].FD(), sockets: made[netcontext.MapSockets].FD(), listeners: made[netcontext.MapListeners].FD(), owners: made[netcontext.MapOwners].FD(), setRetval: retval}
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
		if prog, err = ebpf.NewProgram(&ebpf.ProgramSpec{Name: "t_udp", Type: ebpf.SchedCLS, Instructions: udpIngress(m, 5), License: "Apache-2.0"}); err != nil {
			t.Fatalf("udp: %+v", err)
		}
		prog.Close()
	}
}
