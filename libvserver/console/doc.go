// Package console is the runtime's side of terminals: it relays between the
// caller's terminal and a container's in the foreground ([Relay]), and hands
// descriptors over by the sockets that callers name ([ConnectSocket],
// [SendPidfd]).
//
// It gets descriptors and paths; it knows nothing of config.json, of containers
// or of how a pty comes to be, and imports nothing of this project. Nothing
// runs when the program starts.
package console
