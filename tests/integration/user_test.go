package integration

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdUser lets the runtime be called by another user from here on, without groups and capabilities and with a home and an
// XDG_RUNTIME_DIR of its own, to whom all bundles are given: user UID[:GID], user root.
func cmdUser(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: user UID[:GID]")
	}
	w := worldOf(ts)
	w.uid, w.gid, w.prefix = 0, 0, nil
	if args[0] == "root" {
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
	w.prefix = []string{"setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", "--inh-caps=-all"}
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
	check := append(w.prefix[1:len(w.prefix):len(w.prefix)], "test", "-x", rt.Path)
	if exec.Command(w.prefix[0], check...).Run() != nil {
		ts.Fatalf("user %s can't reach %s: have the repository where other users may pass", uid, rt.Path)
	}
	ts.Check(w.writeRT())
}

// cmdVia puts a command before the runtime that runs it, after the one of user: via unshare --map-root-user.
func cmdVia(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	w.prefix = append(w.prefix[:len(w.prefix):len(w.prefix)], args...)
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
