package unify

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"sync"
)

// digest names a content: the fs-verity digest (SHA-256, blocks of 4096 bytes, no salt) that the kernel computes for a
// sealed file, whether or not the filesystem can seal: Documentation/filesystems/fsverity.rst, "File digest computation".
type digest [sha256.Size]byte

const verityBlock = 4096

var zeroBlock [verityBlock]byte

// hasher computes a digest of content that comes in blocks of a multiple of 4096 bytes, but for the last. It is a plain
// value: a copy goes on from the same point.
type hasher struct {
	size   uint64
	levels [8][]byte // hashes that do not fill a block yet; level 0 is of the data
}

func (h *hasher) clone() *hasher {
	c := &hasher{size: h.size}
	for i, l := range h.levels {
		c.levels[i] = append([]byte(nil), l...)
	}
	return c
}

func (h *hasher) write(data []byte) {
	h.size += uint64(len(data))
	for len(data) >= verityBlock {
		h.add(0, sha256.Sum256(data[:verityBlock]))
		data = data[verityBlock:]
	}
	if len(data) > 0 {
		var last [verityBlock]byte
		copy(last[:], data)
		h.add(0, sha256.Sum256(last[:]))
	}
}

func (h *hasher) add(level int, sum [sha256.Size]byte) {
	l := h.levels[level]
	if len(l) == verityBlock {
		up := sha256.Sum256(l)
		l = l[:0]
		h.levels[level] = l
		h.add(level+1, up)
	}
	h.levels[level] = append(l, sum[:]...)
}

func (h *hasher) sum() digest {
	var root [sha256.Size]byte
	for level := range h.levels {
		l := h.levels[level]
		last := true
		for _, up := range h.levels[level+1:] {
			last = last && len(up) == 0
		}
		if last {
			if len(l) == sha256.Size {
				copy(root[:], l)
			} else if len(l) > 0 {
				root = padded(l)
			}
			break
		}
		if len(l) > 0 {
			h.add(level+1, padded(l))
		}
	}
	return descriptor(h.size, root)
}

func padded(b []byte) [sha256.Size]byte {
	var block [verityBlock]byte
	copy(block[:], b)
	return sha256.Sum256(block[:])
}

// descriptor hashes struct fsverity_descriptor.
func descriptor(size uint64, root [sha256.Size]byte) digest {
	var d [256]byte
	d[0], d[1], d[2] = 1, 1, 12 // version, SHA-256, log2 of the block size
	binary.LittleEndian.PutUint64(d[8:], size)
	copy(d[16:], root[:])
	return sha256.Sum256(d[:])
}

var nameCoding = base32.NewEncoding("0123456789abcdefghijklmnopqrstuv").WithPadding(base32.NoPadding)

const hexDigits = "0123456789abcdef"

// name is the object's path below the objects' directory: short enough that a redirect to it fits in an ext4 inode of
// 256 bytes together with trusted.overlay.metacopy, and long enough (108 bits) that two contents never meet in one store.
func (d *digest) name() string {
	var text [25]byte
	nameCoding.Encode(text[:24], d[1:16])
	return string([]byte{hexDigits[d[0]>>4], hexDigits[d[0]&15], '/'}) + string(text[:20])
}

func (d *digest) String() string { return hex.EncodeToString(d[:]) }

// zeroSums are the hash of a block of zeros, of a block of such hashes, and so on.
var zeroSums = sync.OnceValue(func() (sums [8][sha256.Size]byte) {
	sums[0] = sha256.Sum256(zeroBlock[:])
	for i := 1; i < len(sums); i++ {
		sums[i] = sha256.Sum256(bytes.Repeat(sums[i-1][:], verityBlock/sha256.Size))
	}
	return sums
})

// writeZeros is write of n zero bytes. What fills whole blocks of hashes is not hashed one by one: a hole may be of terabytes.
func (h *hasher) writeZeros(n uint64) {
	h.size += n
	sums := zeroSums()
	for blocks := (n + verityBlock - 1) / verityBlock; blocks > 0; {
		for i, l := range h.levels {
			if len(l) == verityBlock {
				h.levels[i] = l[:0]
				h.add(i+1, sha256.Sum256(l))
			}
		}
		level, span := 0, uint64(1)
		for len(h.levels[level]) == 0 && level+1 < len(h.levels) && blocks >= span*(verityBlock/sha256.Size) {
			level++
			span *= verityBlock / sha256.Size
		}
		h.add(level, sums[level])
		blocks -= span
	}
}
