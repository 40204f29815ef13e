// Package unify makes root filesystems share what is equal in them, as Linux-VServer's vhashify did, and undoes it. On
// disk it follows package tree. It is no part of a container's start: the helper links it, vsrun itself does not.
//
// # What it promises
//
// Nothing in a tree changes until everything that replaces it is there and on disk; then one renameat2(RENAME_EXCHANGE)
// replaces it. Whatever moment it is killed at, the tree is there, as a plain one or as a unified one, and the next run
// clears away what is left (recover.go).
//
// Contents are one when every byte was compared or when their fs-verity digests (SHA-256 over all of the content) are
// equal. A file that changed while this went on, or that somebody has open for writing, is left alone.
//
// # How
//
//	scan.go     trees into memory: one openat2 per directory, one statx per file
//	inuse.go    what must not be unified: mounted, running, an overlay's layer
//	content.go  which files are equal: groups of one size, read once, side by side, on all cores
//	build.go    the metadata tree of each distinct tree
//	swap.go     the exchange, the last checks, the old tree's removal
//	links.go    the other layout
//	ununify.go  the way back
//	store.go, index.go, gc.go, verify.go, info.go   the store
package unify
