package seccomp

import (
	"cmp"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/wire"
)

// The cache holds one file for each program, named by a hash of its key:
//
//	magic "vsrunbpf"           8 bytes; the last byte is the format's version
//	checksum of what follows   u64
//	lengths of the parts       3 x u32
//	key, instructions, unknown names
//
// The hash picks the file and nothing more: a hit needs the whole key, which
// the file holds, to be equal byte for byte. So two profiles can never be taken
// for each other, by accident or design, and the hash may be a fast one that
// costs nothing at init; the checksum is against damage (a crash, a bad disk),
// not against somebody who can write to the directory, which only its owner can.
const (
	cacheMagic  = "vsrunbp\x01"
	cacheHeader = len(cacheMagic) + 8 + 3*4
	maxEntry    = 4 << 20

	// Above maxFiles entries the oldest are dropped, down to keepFiles.
	maxFiles  = 256
	keepFiles = 192
)

// cache is an open cache directory.
type cache struct{ fd int }

func (c *cache) close() { unix.Close(c.fd) }

// openCache opens a cache directory and checks whose it is; nil when there is none.
func openCache(dir string) (*cache, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("seccomp cache %s: open: %w", dir, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("seccomp cache %s: fstat: %w", dir, err)
	}
	if euid := os.Geteuid(); int(st.Uid) != euid || st.Mode&0o022 != 0 {
		unix.Close(fd)
		return nil, fmt.Errorf("seccomp cache %s: not used: owner %d, mode %#o, but must be owned by %d and writable by nobody else", dir, st.Uid, st.Mode&0o7777, euid)
	}
	return &cache{fd}, nil
}

// createCache makes the directory, or opens the one that another process has
// just made.
func createCache(dir string) (*cache, error) {
	if err := unix.Mkdir(dir, 0o700); err != nil && err != unix.EEXIST {
		return nil, fmt.Errorf("seccomp cache %s: mkdir: %w", dir, err)
	}
	c, err := openCache(dir)
	if c == nil && err == nil {
		err = fmt.Errorf("seccomp cache %s: removed meanwhile", dir)
	}
	return c, err
}

// load finds the program of a key. Whatever is wrong with a file makes it a
// miss: the program is compiled again and the file replaced.
func (c *cache) load(key []byte) (insns, unknown []byte) {
	fd, err := unix.Openat(c.fd, entryName(key), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Size < int64(cacheHeader) || st.Size > maxEntry {
		return nil, nil
	}
	b := make([]byte, st.Size)
	for n := 0; n < len(b); {
		m, err := unix.Read(fd, b[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil || m == 0 {
			return nil, nil
		}
		n += m
	}
	return parseEntry(b, key)
}

// parseEntry takes a file apart; nil unless it is whole and has that key.
func parseEntry(b, key []byte) (insns, unknown []byte) {
	if len(b) < cacheHeader || string(b[:8]) != cacheMagic || wire.Uint64(b[8:]) != sum64(b[16:]) {
		return nil, nil
	}
	k, i, u := uint64(wire.Uint32(b[16:])), uint64(wire.Uint32(b[20:])), uint64(wire.Uint32(b[24:]))
	b = b[cacheHeader:]
	if k+i+u != uint64(len(b)) || string(b[:k]) != string(key) || !validLength(int(i)) {
		return nil, nil
	}
	return b[k : k+i : k+i], b[k+i:]
}

// save writes the program of a key, whole or not at all, and keeps the
// directory within bounds. Without fsync: what a power cut leaves half written
// fails the checksum.
func (c *cache) save(key, insns, unknown []byte) error {
	b := make([]byte, 0, cacheHeader+len(key)+len(insns)+len(unknown))
	b = append(b, cacheMagic...)
	b = wire.AppendUint64(b, 0)
	b = wire.AppendUint32(b, uint32(len(key)))
	b = wire.AppendUint32(b, uint32(len(insns)))
	b = wire.AppendUint32(b, uint32(len(unknown)))
	b = append(append(append(b, key...), insns...), unknown...)
	if len(b) > maxEntry {
		return nil // load would not take it
	}
	wire.AppendUint64(b[:8], sum64(b[16:]))

	temp := ".new." + strconv.Itoa(os.Getpid()) + "." + strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := c.write(temp, b); err != nil {
		unix.Unlinkat(c.fd, temp, 0)
		return fmt.Errorf("seccomp cache: write: %w", err)
	}
	if err := unix.Renameat(c.fd, temp, c.fd, entryName(key)); err != nil {
		unix.Unlinkat(c.fd, temp, 0)
		return fmt.Errorf("seccomp cache: rename: %w", err)
	}
	return c.prune()
}

func (c *cache) write(name string, b []byte) (err error) {
	fd, err := unix.Openat(c.fd, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	for len(b) > 0 {
		n, err := unix.Write(fd, b)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			unix.Close(fd)
			return err
		}
		b = b[n:]
	}
	return unix.Close(fd)
}

// prune drops the oldest files when there are too many, among them what a
// killed vsrun left behind. Losing a file that another process wants costs that
// one a compilation.
func (c *cache) prune() error {
	fd, err := unix.Openat(c.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("seccomp cache: open: %w", err)
	}
	d := os.NewFile(uintptr(fd), "seccomp cache")
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return err
	}
	if len(names) <= maxFiles {
		return nil
	}
	files := make([]aged, 0, len(names))
	for _, name := range names {
		var st unix.Stat_t
		if unix.Fstatat(c.fd, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
			files = append(files, aged{name, st.Mtim.Nano()})
		}
	}
	slices.SortFunc(files, func(a, b aged) int { return cmp.Compare(a.time, b.time) })
	for i := 0; i < len(files)-keepFiles; i++ {
		if e := unix.Unlinkat(c.fd, files[i].name, 0); e != nil && !errors.Is(e, unix.ENOENT) {
			err = fmt.Errorf("seccomp cache: unlink %s: %w", files[i].name, e)
		}
	}
	return err
}

// aged is a file and its time of last change in nanoseconds.
type aged struct {
	name string
	time int64
}

func entryName(key []byte) string {
	const hex = "0123456789abcdef"
	var name [16]byte
	h := sum64(key)
	for i := range name {
		name[i] = hex[h>>60]
		h <<= 4
	}
	return string(name[:])
}

// sum64 is a fast hash without cryptographic strength (see the comment on top):
// 16 bytes a step, folded by a 64x64 to 128 bit multiplication.
func sum64(b []byte) uint64 {
	const k0, k1, k2 = 0xa0761d6478bd642f, 0xe7037ed1a0b428db, 0x8ebc6af09c88c6e3
	h, n := uint64(k0), uint64(len(b))
	for len(b) >= 16 {
		h = fold(wire.Uint64(b)^k1, wire.Uint64(b[8:])^h)
		b = b[16:]
	}
	var tail [16]byte
	copy(tail[:], b)
	return fold(fold(wire.Uint64(tail[:])^k1, wire.Uint64(tail[8:])^h)^k2, k0^n)
}

func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}
