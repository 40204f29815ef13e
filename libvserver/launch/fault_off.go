//go:build !faults

package launch

// The product has no faults: what follows is for the compiler alone. See package fault.

type faultState struct{}

func faultAtStep(*compiler, int) {}

func faultAtInsn(*Program, string) {}

func faulted(*message) {}
