package integration

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdUser lets the runtime be called by another user from here on, without groups and capabilities and with a home and an
// XDG_RUNTIME_DIR of its own, to whom all bundles are given: user UID[:GID] [ranges], user root. With ranges it is known
// by name, in a mount namespace of the runtime's own, and 65536 ids from 300000 on are granted to it in /etc/subuid and
// /etc/subgid.
func cmdUser(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 && (len(args) != 2 || args[1] != "ranges") {
		ts.Fatalf("usage: user UID[:GID] [ranges]")
	}
	w := worldOf(ts)
	if args[0] == "root" {
		w.uid, w.gid, w.prefix = 0, 0, nil
		ts.Setenv("XDG_RUNTIME_DIR", "")
		ts.Check(w.writeRT())
		return
	}
	uid, gid, ok := strings.Cut(args[0], ":")
	if !ok {
		gid = uid
	}
	var err error
	w.uid, err = strconv.Atoi(uid)
	ts.Check(err)
	w.gid, err = strconv.Atoi(gid)
	ts.Check(err)
	setpriv := []string{"setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--inh-caps=-all"}
	w.prefix = slices.Concat(w.prefix, setpriv)
	for _, dir := range []string{w.work, w.home(), filepath.Join(w.work, ".run"), ts.Getenv("ROOT")} {
		ts.Check(os.MkdirAll(dir, 0o700))
		ts.Check(os.Chown(dir, w.uid, w.gid))
	}
	ts.Setenv("XDG_RUNTIME_DIR", filepath.Join(w.work, ".run"))
	// The user has to reach all this, and the runtime.
	for dir := w.work; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		st, err := os.Stat(dir)
		ts.Check(err)
		ts.Check(os.Chmod(dir, st.Mode()|0o011))
	}
	check := slices.Concat(setpriv[1:], []string{"test", "-x", rt.Path})
	if exec.Command(setpriv[0], check...).Run() != nil {
		ts.Fatalf("user %s can't reach %s: have the repository where other users may pass", uid, rt.Path)
	}
	if len(args) == 2 {
		ts.Check(w.grant(len(setpriv)))
	}
	ts.Check(w.writeRT())
}

// grantRanges is a shell's preamble: other files in /etc, for the rest of the command line alone.
const grantRanges = `mount --make-rprivate / && for f in passwd group subuid subgid; do
	test -e /etc/$f || : > /etc/$f
	mount --bind "$0/$f" /etc/$f || exit 1
done; exec "$@"`

// grant gives the user a name and ranges of ids. It comes before the last words of the prefix.
func (w *world) grant(last int) error {
	dir := filepath.Join(w.work, ".etc")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	name := "vsruntest"
	for file, line := range map[string]string{
		"passwd": fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", name, w.uid, w.gid, w.home()), "group": fmt.Sprintf("%s:x:%d:\n", name, w.gid),
		"subuid": name + ":300000:65536\n", "subgid": name + ":300000:65536\n",
	} {
		text := ""
		if !strings.HasPrefix(file, "sub") {
			old, err := os.ReadFile("/etc/" + file)
			if err != nil {
				return err
			}
			text = string(old)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text+line), 0o644); err != nil {
			return err
		}
	}
	last = len(w.prefix) - last
	w.prefix = slices.Concat(w.prefix[:last], []string{"unshare", "-m", "sh", "-c", grantRanges, dir}, w.prefix[last:])
	return nil
}

// cmdVia puts a command before the runtime that runs it, after those of user and via before it: via unshare -r.
func cmdVia(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	w.prefix = slices.Concat(w.prefix, args)
	ts.Check(w.writeRT())
}

func (w *world) home() string {
	if w.uid == 0 {
		return "/root"
	}
	return filepath.Join(w.work, ".home")
}

// give makes the script's user the owner of a file or directory and all in it.
func (w *world) give(ts *testscript.TestScript, path string) {
	if w.uid == 0 {
		return
	}
	ts.Check(filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(name, w.uid, w.gid)
	}))
}
