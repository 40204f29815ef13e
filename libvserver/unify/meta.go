package unify

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/unify/tree"
)

// meta is a distinct tree's metadata tree.
type meta struct {
	digest string
	ref    int // an open descriptor of the reference
	bytes  uint64
	isNew  bool
}

func metasOf(m map[*image]*meta) map[*meta]bool {
	set := map[*meta]bool{}
	for _, v := range m {
		set[v] = true
	}
	return set
}

// metaTrees sees to it that every image has its metadata tree in the store.
func (j *job) metaTrees(images []*image, v tree.Verity) (map[*image]*meta, error) {
	metas := map[*image]*meta{}
	byDigest := map[string]*meta{}
	total := 0
	names := make([]string, len(images))
	if err := parallel(len(images), func(i int) error {
		names[i] = images[i].name(v)
		return nil
	}); err != nil {
		return nil, err
	}
	for _, im := range images {
		total += im.files
	}
	j.progress.begin("building", uint64(total), 0)
	for i, im := range images {
		if m := byDigest[names[i]]; m != nil {
			metas[im] = m
			continue
		}
		m, err := j.metaTree(im, names[i], numbered("m", i), v)
		if err != nil {
			return metas, err
		}
		byDigest[names[i]] = m
		metas[im] = m
	}
	return metas, nil
}

// metaTree publishes one metadata tree. The reference comes first: gc takes a tree without one for an unused one.
func (j *job) metaTree(im *image, digest, temp string, v tree.Verity) (m *meta, err error) {
	m = &meta{digest: digest, ref: -1}
	var st stat
	known := statAt(j.trees, digest, &st) == nil
	refName := digest + ".ref"
	if statAt(j.trees, refName, &st) == unix.ENOENT {
		if err := j.writeFile(j.fd, refName, []byte(refText(j.Path, digest))); err != nil {
			return nil, err
		}
		err := unix.Fchmodat(j.fd, refName, 0o444, 0)
		if err == nil {
			err = unix.Linkat(j.fd, refName, j.trees, refName, 0)
		}
		if err != nil && err != unix.EEXIST {
			return nil, fmt.Errorf("reference of metadata tree %s: %w", digest, err)
		}
	}
	if m.ref, err = openBeneath(j.trees, refName, readFile); err != nil {
		return nil, fmt.Errorf("reference of metadata tree %s: %w", digest, err)
	}
	if known {
		return m, nil
	}
	if err := j.build(im, temp, v); err != nil {
		unix.Close(m.ref)
		return nil, err
	}
	err = unix.Renameat2(j.fd, temp, j.trees, digest, unix.RENAME_NOREPLACE)
	if err == unix.EEXIST {
		err = removeTree(j.fd, temp)
	}
	if err != nil {
		unix.Close(m.ref)
		return nil, fmt.Errorf("publish metadata tree %s: %w", digest, err)
	}
	m.isNew = true
	m.bytes, err = j.metaBytes(im, digest, v)
	return m, err
}

// metaBytes is what a metadata tree takes on disk: directories, and what else does not fit in its inode.
func (j *job) metaBytes(im *image, digest string, v tree.Verity) (sum uint64, err error) {
	fd, err := openBeneath(j.trees, digest, readDir)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	for _, d := range im.dirs {
		var st stat
		path := d.path
		if path == "" {
			path = "."
		}
		if err := statAt(fd, path, &st); err != nil {
			return 0, err
		}
		sum += st.blocks * 512
		for i := range d.nodes {
			n := &d.nodes[i]
			big := len(n.target) >= 60 || len(n.xattrs) > 0 || n.file != nil && (len(n.file.xattrs) > 0 || v != tree.VerityOff)
			if n.file != nil && n.file.keep != shared {
				big = false
			}
			if big && statAt(fd, d.join(n.name), &st) == nil {
				sum += st.blocks * 512
			}
		}
	}
	return sum, nil
}
