package unify

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// name is the tree's digest: of everything that an overlay of it would show, and of how it is stored. Equal trees have
// one metadata tree.
func (im *image) name(v tree.Verity) string {
	h := sha256.New()
	b := make([]byte, 0, 64<<10)
	u := func(v uint64) { b = binary.AppendUvarint(b, v) }
	s := func(v string) {
		u(uint64(len(v)))
		b = append(b, v...)
	}
	one := func(n *node) {
		s(n.name)
		u(uint64(n.st.mode))
		u(uint64(n.st.uid))
		u(uint64(n.st.gid))
		u(uint64(n.st.mtime.Sec))
		u(uint64(n.st.mtime.Nsec))
		xattrs := n.xattrs
		if n.file != nil {
			xattrs = n.file.xattrs
		}
		u(uint64(len(xattrs)))
		for _, x := range xattrs {
			s(x.name)
			s(x.value)
		}
	}
	s("vserver tree 1")
	b = append(b, byte(v))
	for _, d := range im.dirs {
		s(d.path)
		if d.path == "" {
			d.name = ""
		}
		one(&d.node)
		u(uint64(len(d.nodes)))
		for i := range d.nodes {
			n := &d.nodes[i]
			one(n)
			u(n.st.rdev)
			s(n.target)
			if n.first != nil {
				s(n.first.path)
			} else {
				s("")
			}
			switch {
			case n.file == nil:
				u(0)
			case n.file.keep != shared:
				// It is the inode itself that stays, and no other tree has it.
				u(1)
				u(n.st.ino)
			default:
				u(2)
				u(n.st.size)
				b = append(b, n.file.content.digest[:]...)
			}
		}
		if len(b) > 48<<10 {
			h.Write(b)
			b = b[:0]
		}
	}
	h.Write(b)
	return hex.EncodeToString(h.Sum(nil))
}
