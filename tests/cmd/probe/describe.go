package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// describe is what lstat(2) says, but for what differs between any two filesystems.
func describe(name string) string {
	var st unix.Stat_t
	if err := unix.Lstat(name, &st); err != nil {
		return errnoText(err)
	}
	s := fmt.Sprintf("%o %d:%d", st.Mode, st.Uid, st.Gid)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR: // size and links of directories mean nothing
	case unix.S_IFLNK:
		to, _ := os.Readlink(name)
		s += " -> " + to
	default:
		s += fmt.Sprintf(" %d bytes, %d links", st.Size, st.Nlink)
	}
	return s
}

func same(a, b string) string {
	var x, y unix.Stat_t
	if unix.Lstat(a, &x) != nil || unix.Lstat(b, &y) != nil {
		return ""
	}
	return fmt.Sprintf("same %v", x.Ino == y.Ino && x.Dev == y.Dev)
}

func content(name string) string {
	s := describe(name)
	var st unix.Stat_t
	if unix.Lstat(name, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG {
		b, err := os.ReadFile(name)
		sum := sha256.Sum256(b)
		s += " " + errnoText(err) + " " + hex.EncodeToString(sum[:6])
	}
	return s
}

func xattrs(name string) string {
	buf := make([]byte, 4096)
	n, err := unix.Llistxattr(name, buf)
	if err != nil {
		return errnoText(err)
	}
	var out []string
	for key := range strings.SplitSeq(strings.Trim(string(buf[:n]), "\x00"), "\x00") {
		if v := make([]byte, 256); key != "" {
			n, err := unix.Lgetxattr(name, key, v)
			out = append(out, key+"="+string(v[:max(n, 0)])+errnoText(err))
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// manifest prints the whole tree.
func manifest() error {
	groups := map[uint64]string{}
	return filepath.WalkDir(".", func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		group := ""
		var st unix.Stat_t
		if unix.Lstat(p, &st) == nil && !d.IsDir() && st.Nlink > 1 {
			if groups[st.Ino] == "" {
				groups[st.Ino] = p
			}
			group = " = " + groups[st.Ino]
		}
		fmt.Println(p, content(p), xattrs(p)+group)
		return nil
	})
}
