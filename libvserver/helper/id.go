package helper

import (
	"fmt"
	"io"
)

// ID identifies the helper that Run would start: two helpers that could answer
// differently have different ids. It is meant for cache keys and costs a few
// microseconds: of an embedded helper it is the Go build id (which ends in a
// hash of the linked file, libseccomp.a included), of an installed one what
// stat(2) says. The error is ErrMissing or wraps it.
func ID() (string, error) {
	f := embedded()
	if f == nil {
		_, st, err := installed()
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("file %d:%d %d %d.%d", st.Dev, st.Ino, st.Size, st.Ctim.Sec, st.Ctim.Nsec), nil
	}
	defer f.Close()
	var head [1024]byte
	n, _ := io.ReadFull(f, head[:])
	if id := buildID(head[:n]); id != "" {
		return id, nil
	}
	// Built with -buildid= or by another linker: hash all of it.
	sum := uint64(14695981039346656037)
	buf := head[:n]
	for {
		for _, c := range buf {
			sum = (sum ^ uint64(c)) * 1099511628211 // FNV-1a
		}
		n, err := f.Read(head[:])
		if n == 0 || err != nil {
			return fmt.Sprintf("fnv %016x", sum), nil
		}
		buf = head[:n]
	}
}

// buildID finds the note of the Go linker (name "Go\0\0", type 4) in the first
// bytes of an ELF file; "" when it is not there or empty.
func buildID(b []byte) string {
	le := b
	if len(b) < 64 || string(b[:4]) != "\x7fELF" {
		return ""
	}
	if b[5] != 1 { // big endian: the lengths below would be read wrongly
		return ""
	}
	for i := 0; i+16 <= len(le); i += 4 {
		if string(le[i+4*3:i+4*4]) != "Go\x00\x00" {
			continue
		}
		name, desc, typ := u32(le[i:]), u32(le[i+4:]), u32(le[i+8:])
		if name != 4 || typ != 4 || desc == 0 || desc > 256 || i+16+int(desc) > len(le) {
			continue
		}
		return string(le[i+16 : i+16+int(desc)])
	}
	return ""
}

func u32(b []byte) uint32 {
	return uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
}
