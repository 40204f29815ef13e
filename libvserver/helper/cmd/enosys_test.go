//go:build cgo

package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/seccomptest"
)

// TestAssemble tries stubs for machines that the tests do not run on. The
// filter behind them is one instruction.
func TestAssemble(t *testing.T) {
	const (
		s390x = unix.AUDIT_ARCH_S390X
		arm   = unix.AUDIT_ARCH_ARM
		arm64 = unix.AUDIT_ARCH_AARCH64
		x64   = unix.AUDIT_ARCH_X86_64
		x86   = unix.AUDIT_ARCH_I386
	)
	type call struct {
		arch, nr uint32
		enosys   bool
	}
	many := []section{}
	for a := range uint32(200) {
		many = append(many, section{audit: a, max: a})
	}
	tests := map[string]struct {
		secs  []section
		calls []call
	}{
		"none": {nil, []call{{x64, 0, false}, {x64, 9999, false}}},
		"one": {
			[]section{{audit: arm64, max: 300}},
			[]call{{arm64, 0, false}, {arm64, 300, false}, {arm64, 301, true}, {arm64, 0xffffffff, true}, {arm, 301, false}},
		},
		"s390x multiplexes by number 0": {
			[]section{{audit: s390x, max: 300, setup: true}},
			[]call{{s390x, 0, true}, {s390x, 1, false}, {s390x, 300, false}, {s390x, 301, true}},
		},
		"arm has private calls": {
			[]section{{audit: arm64, max: 300}, {audit: arm, max: 400, private: true}},
			[]call{{arm, 400, false}, {arm, 401, true}, {arm, armPrivate - 1, true}, {arm, armPrivate, false}, {arm, armPrivate + 5, false}, {arm64, armPrivate, true}},
		},
		"x32": {
			[]section{{audit: x64, max: 300, x32: true, max32: x32Bit + 500}, {audit: x86, max: 400}},
			[]call{
				{x64, 300, false}, {x64, 301, true}, {x64, x32Bit - 1, true},
				{x64, x32Bit, false}, {x64, x32Bit + 301, false}, {x64, x32Bit + 500, false}, {x64, x32Bit + 501, true},
				{x86, 400, false}, {x86, 401, true}, {x86, x32Bit, true},
			},
		},
		"more than short jumps reach": {
			many,
			[]call{{0, 0, false}, {0, 1, true}, {199, 199, false}, {199, 200, true}, {200, 1000, false}},
		},
	}
	const behind = uint32(unix.SECCOMP_RET_ALLOW)
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			prog := assemble(tc.secs)
			prog = append(prog, assembleRet(behind)...)
			for _, c := range tc.calls {
				got, err := seccomptest.Run(prog, seccomptest.Data{Nr: c.nr, Arch: c.arch})
				if err != nil {
					t.Fatal(err)
				}
				want := behind
				if c.enosys {
					want = retEnosys
				}
				if got != want {
					t.Errorf("arch %#x call %#x: %s, want %s", c.arch, c.nr, seccomptest.Verdict(got), seccomptest.Verdict(want))
				}
			}
			if t.Failed() {
				t.Log(seccomptest.Print(prog))
			}
		})
	}
}

func assembleRet(k uint32) []byte {
	return encode([]sockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: k}})
}
