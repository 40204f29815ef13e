package host

import (
	"os"
	"strings"
)

// Mount is a line of mountinfo (proc_pid_mountinfo(5)).
type Mount struct {
	ID     int
	Device string // of the filesystem, major:minor
	Root   string // what of the filesystem is mounted
	Point  string // where, seen from the process' root directory
	Type   string // of the filesystem
	Super  string // the filesystem's options
}

// Mounts are those of the mount namespace of a process, "self" for the own. A mount that hides another comes after it.
func Mounts(pid string) ([]Mount, error) {
	text, err := os.ReadFile("/proc/" + pid + "/mountinfo")
	return ParseMounts(string(text)), err
}

// ParseMounts reads the text of mountinfo, and leaves out what it does not understand.
func ParseMounts(text string) (list []Mount) {
	// 36 35 98:0 /root /mount options optional… - type source super
	for line := range strings.SplitSeq(text, "\n") {
		front, back, ok := strings.Cut(line, " - ")
		f, b := strings.SplitN(front, " ", 6), strings.SplitN(back, " ", 3)
		if !ok || len(f) < 6 || len(b) < 3 {
			continue
		}
		id := 0
		for _, c := range []byte(f[0]) {
			id = 10*id + int(c-'0')
		}
		list = append(list, Mount{id, f[2], unescape(f[3]), unescape(f[4]), b[0], unescape(b[2])})
	}
	return list
}

// unescape undoes the kernel's \040 for a space and the like.
func unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	digit := func(i int) bool { return s[i] >= '0' && s[i] <= '7' }
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) && digit(i+1) && digit(i+2) && digit(i+3) {
			b = append(b, (s[i+1]-'0')<<6|(s[i+2]-'0')<<3|(s[i+3]-'0'))
			i += 3
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}
