// Package netdev moves network devices of the host into a container's network namespace (runtime-spec 1.3,
// config-linux.md, "Network Devices"), by rtnetlink(7).
//
// What a device is goes along: its attributes, which the kernel keeps, and its permanent addresses of global scope, which
// it drops. After the move a device is the container's: nothing here looks after it, or fetches it back when the
// container goes. Only a container that does not come to be gives its devices back (Moved.Return).
//
// The package knows names of devices and a process's namespace, neither config.json nor containers.
package netdev
