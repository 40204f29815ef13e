// Package wire reads and writes JSON without reflection.
//
// It holds a pull reader and an append writer, and nothing that knows what a
// document means. It accepts and prints what encoding/json accepts and prints
// (RFC 8259), but needs no type information at run time: the first use of
// encoding/json on a large struct costs over a millisecond, which is most of
// what a short-lived runtime process may spend.
//
// The package must not import anything of this module, and nothing that does
// work at init or reflects (encoding/json, fmt).
package wire
