//go:build !faults

package launch

import "github.com/vsrun/vsrun/libvserver/plan"

// The product has no faults: what follows is for the compiler alone. See package fault.

type faultState struct{}

func faultAtStep(*compiler, int) {}

func faultAtInsn(*Program, string) {}

func faultOutside(plan.Step) error { return nil }

func faulted(*message) {}
