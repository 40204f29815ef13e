// Package launch turns a plan (libvserver/plan) into a running process.
//
// Every step of the plan is compiled, in the parent, to a flat program of prepared system calls: all strings, structs
// and fd numbers are laid out before the clone. The program runs in a cloned child, in this process's memory or in a copy
// of it: it never starts a second Go runtime and never enters Go's scheduler. It walks the program and ends in
// execve(2), or reports the instruction and errno that failed and exits.
//
// # The fork contract
//
// Between clone3 and execve only execute (machine.go) and what it calls may run. These functions:
//   - are //go:nosplit, //go:norace and //go:noinline or small enough to be inlined into one that is: the runtime has
//     set the stack guard to a value at which every stack check throws;
//   - allocate nothing, take no lock, touch no map, channel, interface or defer;
//   - make system calls by syscall.RawSyscall6 only;
//   - read and write only memory that the program owns (machine, arena).
//
// TestExecutorAllocatesNothing and TestExecutorIsNosplit hold them to it.
//
// The package knows plan and the kernel; it knows no config.json (spec) and no container state.
package launch
