// Package tree is the one place that knows how a unified tree looks on disk:
// how a directory is recognised as one, and which overlay layers it stands for.
// It is linked into the hot binary: one getxattr says whether a directory is
// unified, and nothing runs at init. It changes nothing on disk: building,
// checking and dissolving trees is package unify's.
//
// # On disk
//
// A store is a directory on the filesystem of the trees it serves, 0700 root:
//
//	STORE/vserver-store         marks it, and says which version
//	STORE/objects/ab/NAME       one file per distinct content: the data-only lower layer is STORE/objects
//	STORE/trees/DIGEST          one metadata tree per distinct tree: the lower layer
//	STORE/trees/DIGEST.ref      hard-linked into every tree that stands for it: its link count counts them
//	STORE/links/ab/NAME         one file per distinct content and metadata, for trees of the links layout
//	STORE/uppers/BOOT/XID.N     what running containers write, if it is not kept elsewhere, and a
//	                            hard link ref to DIGEST.ref; BOOT is the boot id, or kept
//	STORE/tmp, STORE/index      work in progress, known digests: package unify's alone
//
// A unified tree is a directory with the extended attribute Attr.
//
// Objects layout: the directory has the owner, mode, times and attributes of
// the tree's root and nothing in it but the file RefName. The tree itself is
// the overlay of STORE/trees/DIGEST (files with trusted.overlay.metacopy and
// trusted.overlay.redirect, and whole files where sharing was not wanted) over
// the data-only layer STORE/objects (Linux 6.5).
//
// Links layout: the directory is the tree; its files are hard links to those
// below STORE/links. Whoever runs it has to mount it as the lower layer of an
// overlay, since a file changed in place changes in every tree that has it.
package tree

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// Attr marks a unified tree's root. Only a process with CAP_SYS_ADMIN in
	// the initial user namespace can read or write it (xattr(7)), and
	// overlayfs shows no attribute with this prefix to a guest.
	Attr = "trusted.overlay.vserver"

	// RefName is the only file in a tree of the objects layout: a hard link
	// to STORE/trees/DIGEST.ref, so that a removed tree is no longer counted.
	RefName = ".vsrun-unified"

	// StandardStore is where a store is unless --store says otherwise, if
	// that is on the filesystem of the trees; else it is called
	// .vserver-store at the top of theirs.
	StandardStore = "/var/lib/vsrun/store"

	// Objects, Trees, Links, Uppers and Marker are names in a store.
	Objects = "objects"
	Trees   = "trees"
	Links   = "links"
	Uppers  = "uppers"
	Marker  = "vserver-store"
)

// Layout says how a tree shares its files.
type Layout byte

// The layouts, as package comment describes them.
const (
	LayoutObjects Layout = 'o'
	LayoutLinks   Layout = 'l'
)

func (l Layout) String() string {
	switch l {
	case LayoutObjects:
		return "objects"
	case LayoutLinks:
		return "links"
	}
	return "unknown layout"
}

// LayoutFor is the layout of trees on a filesystem, by what host.TryOverlayDataOnly
// and host.TryOverlay say of it. Where overlayfs takes no layers from it
// at all, that is the error.
func LayoutFor(dataOnly, layers error) (Layout, error) {
	switch {
	case dataOnly == nil:
		return LayoutObjects, nil
	case layers == nil:
		return LayoutLinks, nil
	}
	return 0, layers
}

// Verity says which of a tree's files carry the fs-verity digest of their
// object, as the overlay's mount option verity (Linux 6.6) knows it.
type Verity byte

// VerityOff: none. VerityOn: some (the others are too small to be worth a
// sealed object): mount with verity=on. VerityRequire: all: verity=require.
const (
	VerityOff     Verity = '-'
	VerityOn      Verity = 's'
	VerityRequire Verity = 'r'
)

// Option is the value of the overlay's mount option verity; "" for none.
func (v Verity) Option() string {
	switch v {
	case VerityOn:
		return "on"
	case VerityRequire:
		return "require"
	}
	return ""
}

// Tree is what a unified tree's Attr says.
type Tree struct {
	Layout Layout
	Verity Verity
	Digest string // of the objects layout: 64 hexadecimal digits, the metadata tree's name
	Store  string // absolute path of the store
}

// ErrBroken is wrapped by errors about an Attr that can't be understood, or
// whose store or metadata tree is not where it should be.
var ErrBroken = errors.New("broken unified tree")

// version starts every value of Attr. A reader refuses any other.
const version = "1"

// maxAttr is more than the longest value: the fixed part and a path.
const maxAttr = unix.PathMax + 128

// Read says what the directory at path stands for; nil if it is no unified
// tree. A last symlink is followed: give a descriptor to ReadFd where that matters.
func Read(path string) (*Tree, error) {
	var buf [maxAttr]byte
	n, err := unix.Getxattr(path, Attr, buf[:])
	return read(buf[:max(n, 0)], err)
}

// ReadFd is Read of an open directory, which may be opened with O_PATH.
func ReadFd(fd int) (*Tree, error) {
	var buf [maxAttr]byte
	n, err := unix.Fgetxattr(fd, Attr, buf[:])
	if err == unix.EBADF { // O_PATH, or no descriptor at all
		return Read("/proc/self/fd/" + strconv.Itoa(fd))
	}
	return read(buf[:max(n, 0)], err)
}

func read(value []byte, err error) (*Tree, error) {
	switch err {
	case nil:
		return Parse(string(value))
	case unix.ENODATA, unix.EOPNOTSUPP, unix.EPERM:
		return nil, nil // the last one: not for a process without privileges
	}
	return nil, fmt.Errorf("read %s: %w", Attr, err)
}

// Parse reads a value of Attr.
func Parse(value string) (*Tree, error) {
	broken := func(why string) (*Tree, error) {
		return nil, fmt.Errorf("%w: %s=%q: %s", ErrBroken, Attr, value, why)
	}
	v, rest, _ := strings.Cut(value, " ")
	if v != version {
		return broken("version " + v + " is not known to this vsrun")
	}
	kind, rest, _ := strings.Cut(rest, " ")
	digest, store, _ := strings.Cut(rest, " ")
	if len(kind) != 2 {
		return broken("no layout")
	}
	t := &Tree{Layout(kind[0]), Verity(kind[1]), digest, store}
	switch {
	case t.Layout != LayoutObjects && t.Layout != LayoutLinks:
		return broken("unknown layout")
	case t.Verity != VerityOff && t.Verity != VerityOn && t.Verity != VerityRequire:
		return broken("unknown kind of sealing")
	case t.Layout == LayoutObjects && !isDigest(digest), t.Layout == LayoutLinks && digest != "-":
		return broken("no digest")
	case !strings.HasPrefix(store, "/"):
		return broken("the store's path is not absolute")
	}
	return t, nil
}

// Value is what Attr says for t.
func (t *Tree) Value() string {
	digest := t.Digest
	if t.Layout == LayoutLinks {
		digest = "-"
	}
	return version + " " + string([]byte{byte(t.Layout), byte(t.Verity)}) + " " + digest + " " + t.Store
}

func isDigest(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == 64
}

// Lower is the path of the overlay's lower layer for the unified tree at
// path: the metadata tree, or the tree itself in the links layout. The root of
// an overlay gets its owner, mode and attributes from the upper layer: copy
// them from here when that is made.
func (t *Tree) Lower(path string) string {
	if t.Layout == LayoutLinks {
		return path
	}
	return t.Store + "/" + Trees + "/" + t.Digest
}

// Data is the path of the overlay's data-only lower layer; "" if the layout
// has none. The overlay needs metacopy=on then, and nothing else for it.
func (t *Tree) Data() string {
	if t.Layout == LayoutLinks {
		return ""
	}
	return t.Store + "/" + Objects
}

// Open opens the layers with O_PATH, so that what is checked here is what gets
// mounted: no component of the store's path may be a symlink, the store has
// its marker and belongs to root and nobody else can write to it. data is -1
// where Data is "".
func (t *Tree) Open(path string) (lower, data int, err error) {
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC, Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
	if t.Layout == LayoutLinks {
		lower, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return -1, -1, fmt.Errorf("open %s: %w", path, err)
		}
		return lower, -1, nil
	}
	store, err := unix.Openat2(unix.AT_FDCWD, t.Store, &how)
	if err != nil {
		return -1, -1, fmt.Errorf("%w: its store %s: %w", ErrBroken, t.Store, err)
	}
	defer unix.Close(store)
	if err := CheckStore(store); err != nil {
		return -1, -1, fmt.Errorf("%w: its store %s: %w", ErrBroken, t.Store, err)
	}
	how.Resolve |= unix.RESOLVE_BENEATH
	for range 200 {
		lower, err = unix.Openat2(store, Trees+"/"+t.Digest, &how)
		// A gc that began before the tree was made may have moved it aside, until it looks at the reference again.
		if err != unix.ENOENT || unix.Faccessat(store, Trees+"/"+t.Digest+".ref", unix.F_OK, 0) != nil {
			break
		}
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
	}
	if err != nil {
		return -1, -1, fmt.Errorf("%w: its metadata tree %s: %w", ErrBroken, t.Lower(path), err)
	}
	if data, err = unix.Openat2(store, Objects, &how); err != nil {
		unix.Close(lower)
		return -1, -1, fmt.Errorf("%w: its objects %s: %w", ErrBroken, t.Data(), err)
	}
	return lower, data, nil
}

// CheckStore says why the directory is not a store to be trusted.
func CheckStore(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(fd, Marker, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("%s: %w", Marker, err)
	}
	if err := unix.Fstatat(fd, "", &st, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	if st.Uid != 0 || st.Mode&0o022 != 0 {
		return errors.New("others than root can write to it")
	}
	return nil
}
