package arch

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vsrun/vsrun/tests/harness"
)

// A path in a container's root filesystem is the container's to change at any moment: who looks it up by its name is led to
// the host (CVE-2015-3627, 2018-15664, 2019-18837, 2021-30465, 2024-45310, …). So nothing makes, changes, removes or mounts
// a file by a path; it is done from a descriptor of its directory, in libvserver/launch, which resolves in the container's
// root alone (openat2(2)). These are the exceptions: paths that no container can have a hand in, or that a container's view
// is not needed for. Who adds one says why.
var pathExceptions = []struct {
	file  string
	calls string
	why   string
}{
	{"libvserver/state/dir.go", "unix.Mkdir unix.Rmdir os.RemoveAll", "a container's directory in the state root, which is root's own; os.RemoveAll goes by descriptors"},
	{"libvserver/state/state.go", "os.MkdirAll os.Chmod", "the state root itself, as the caller names it"},
	{"libvserver/state/xid.go", "unix.Mkdir unix.Fchmodat unix.Symlink unix.Unlink", "the registry of context ids: a new directory and links in it, never through one"},
	{"libvserver/unify/store.go", "os.MkdirAll os.Remove", "the object store itself, as the caller names it"},
	{"libvserver/unify/sys.go", "unix.Lsetxattr unix.Linkat", "a link's and a descriptor's own name in /proc/self/fd, for what the kernel has no call by descriptor"},
	{"libvserver/notify.go", "unix.Chmod", "the socket just made in the state directory, by its descriptor"},
	{"libvserver/seccomp/cache.go", "unix.Mkdir", "/run/vsrun-seccomp, root's own, checked to be so"},
	{"libvserver/netcontext/register.go", "unix.Open os.Mkdir os.Remove os.WriteFile os.Rename", "/run/vsrun-net, root's own, checked to be so, and pins in the BPF filesystem"},
	{"libvserver/netcontext/leftovers.go", "os.Remove", "as register.go"},
	{"libvserver/netcontext/attach.go", "os.Remove", "pins in the BPF filesystem: there are no links in it"},
	{"libvserver/netcontext/job/job.go", "unix.Mount os.MkdirAll os.Remove os.RemoveAll", "/sys/fs/bpf, root's own: there are no links in it"},
	{"libvserver/cgroup/sys.go", "unix.Mkdir unix.Rmdir", "cgroup filesystems: there are no links in one"},
	{"libvserver/cgroup/controllers.go", "unix.Fchownat", "cgroup filesystems: there are no links in one"},
	{"libvserver/rdt.go", "os.Mkdir unix.Rmdir", "resctrl: there are no links in it"},
	{"libvserver/log/log.go", "os.OpenFile", "--log, the caller's file"},
	{"libvserver/pidfile.go", "os.Rename os.Remove unix.Unlink unix.Linkat", "--pid-file, the caller's file, before the container's program runs"},
	{"libvserver/fault/on.go", "os.OpenFile", "the trace of a test build"},
	{"libvserver/cli/spec.go", "os.OpenFile os.Remove", "config.json for vsrun spec"},
	{"libvserver/criu.go", "os.MkdirAll os.Remove", "--image-path and --work-path, the caller's folders"},
	{"libvserver/network.go", "os.WriteFile", "netcontext.txt in --image-path, the caller's folder"},
	{"libvserver/criu_stdio.go", "os.WriteFile", "descriptors.json in --image-path, the caller's folder"},
	{"libvserver/criu_mounts.go", "unix.Mount unix.Unmount", "on descriptors, by /proc/self/fd"},
	{"libvserver/restore.go", "os.Mkdir", "/run/vsrun-criu, root's own and always empty"},
	{"libvserver/restore_mounts.go", "unix.Mount os.Mkdir os.Chmod os.WriteFile unix.MoveMount", "a tmpfs on /run/vsrun-criu that only CRIU sees"},
	{"libvserver/callermounts.go", "unix.Unmount", "of the rootfs itself, when no process is left; no link is followed"},
	{"libvserver/doctor/filesystems.go", "os.MkdirTemp os.Remove", "throwaway files of vsrun doctor"},
	{"libvserver/host/cgroupflags.go", "unix.Open", "/run/vsrun-cgroup-flags, in a directory that is root's own"},
	{"libvserver/host/try.go", "os.Mkdir os.WriteFile os.MkdirTemp os.RemoveAll", "throwaway files of vsrun doctor"},
	{"libvserver/upper.go", "unix.Mkdir unix.UtimesNanoAt unix.Rmdir", "directories above a unified tree's upper layer, root's own; no container sees them"},
	{"libvserver/upper_private.go", "unix.Mkdir unix.Link", "the same"},
	{"libvserver/launch/overlay.go", "unix.Mount unix.MoveMount", "on / and the root filesystem's own directory, in a mount namespace that was just made for it"},
	{"libvserver/launch/nodes.go", "unix.MoveMount unix.MountSetattr", "on / of a mount namespace that was just made for it"},
}

// pathCalls make, change, remove or mount what a path names. Those that take a directory's descriptor (…at) count when it is
// AT_FDCWD, and all that open count when they may make a file.
var pathCalls = map[string][]string{
	"os": {"Create", "CreateTemp", "Mkdir", "MkdirAll", "MkdirTemp", "WriteFile", "Symlink", "Link", "Rename", "Remove", "RemoveAll", "Chmod", "Chown",
		"Lchown", "Chtimes", "Truncate", "CopyFS"},
	"unix": {"Creat", "Mkdir", "Mknod", "Mkfifo", "Symlink", "Link", "Unlink", "Rmdir", "Rename", "Chmod", "Chown", "Lchown", "Truncate", "Mount", "Unmount",
		"Chroot", "PivotRoot", "Setxattr", "Lsetxattr", "Removexattr", "Lremovexattr", "Utimes", "UtimesNano"},
}

var atCalls = []string{"Mkdirat", "Mknodat", "Mkfifoat", "Symlinkat", "Linkat", "Unlinkat", "Renameat", "Renameat2", "Fchownat", "Fchmodat", "MoveMount",
	"MountSetattr", "UtimesNanoAt"}

var (
	makesFile = regexp.MustCompile(`\bO_CREATE?\b`)
	writes    = regexp.MustCompile(`\bO_(WRONLY|RDWR)\b`)
	rootName  = regexp.MustCompile(`(?i)rootfs(\(\))?$`)
	intoRoot  = regexp.MustCompile(`^/root/.`)
)

// pathFinding is one use.
type pathFinding struct{ pos, call, what string }

// inspectPaths looks at one file.
func inspectPaths(fset *token.FileSet, file *ast.File) (found []pathFinding) {
	add := func(n ast.Node, call, what string) {
		found = append(found, pathFinding{fset.Position(n.Pos()).String(), call, what})
	}
	// What is only compared, or shown, is no path that anyone goes.
	harmless := map[ast.Node]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		if n == nil || harmless[n] {
			return false
		}
		switch n := n.(type) {
		case *ast.CallExpr:
			name := callee(n.Fun)
			pkg, fn, _ := strings.Cut(name, ".")
			if pkg == "syscall" {
				pkg = "unix"
			}
			if pkg == "strings" && (strings.HasSuffix(fn, "Prefix") || fn == "Contains") || pkg == "errors" || name == "fmt.Errorf" {
				for _, a := range n.Args {
					harmless[a] = true
				}
			}
			text := ""
			for _, a := range n.Args {
				text += " " + source(a)
			}
			opens := (pkg == "os" || pkg == "unix") && strings.HasPrefix(fn, "Open")
			dirfd := strings.HasPrefix(fn, "Openat") && len(n.Args) > 0 && source(n.Args[0]) != "unix.AT_FDCWD"
			switch {
			case pkg != "os" && pkg != "unix" && pkg != "filepath" && pkg != "path":
			case slices.Contains(pathCalls[pkg], fn):
				add(n, pkg+"."+fn, "works by a path")
			case pkg == "unix" && slices.Contains(atCalls, fn) && strings.Contains(text, "AT_FDCWD"):
				add(n, "unix."+fn, "works by a path")
			case opens && makesFile.MatchString(text) && !dirfd:
				add(n, pkg+"."+fn, "may make a file by a path")
			case opens && writes.MatchString(text) && strings.Contains(text, `"/proc`):
				add(n, pkg+"."+fn, "writes to /proc by a path: host.WriteProc does not")
			case fn == "Join" && (pkg == "filepath" || pkg == "path"):
				if len(n.Args) > 1 && rootName.MatchString(source(n.Args[0])) {
					add(n, pkg+".Join", "joins the root filesystem with a path")
				}
			}
			if name == "os.WriteFile" && strings.Contains(text, `"/proc`) {
				add(n, "os.WriteFile(/proc)", "writes to /proc by a path: host.WriteProc does not")
			}
		case *ast.BinaryExpr:
			if n.Op != token.ADD {
				break
			}
			if rootName.MatchString(source(n.X)) {
				add(n, "+", "joins the root filesystem with a path")
			}
			if lit, ok := n.Y.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				if s, err := strconv.Unquote(lit.Value); err == nil && intoRoot.MatchString(s) && strings.Contains(source(n.X), "/proc/") {
					add(n, "+", "goes into a container's root by a path")
				}
			}
			if l, ok := n.X.(*ast.BinaryExpr); ok {
				if lit, ok := l.Y.(*ast.BasicLit); ok && lit.Value == `"/root"` && strings.Contains(source(l.X), "/proc/") {
					add(n, "+", "goes into a container's root by a path")
				}
			}
		}
		return true
	})
	return found
}

// callee is "pkg.Func" for a call of a package's function, and the like for methods.
func callee(fun ast.Expr) string {
	if s, ok := fun.(*ast.SelectorExpr); ok {
		if x, ok := s.X.(*ast.Ident); ok {
			return x.Name + "." + s.Sel.Name
		}
	}
	return ""
}

// source is an expression in few words: names, literals and operators.
func source(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.BasicLit:
		return e.Value
	case *ast.SelectorExpr:
		return source(e.X) + "." + e.Sel.Name
	case *ast.BinaryExpr:
		return source(e.X) + e.Op.String() + source(e.Y)
	case *ast.CallExpr:
		s := source(e.Fun) + "("
		for _, a := range e.Args {
			s += source(a) + ","
		}
		return strings.TrimSuffix(s, ",") + ")"
	case *ast.UnaryExpr:
		return e.Op.String() + source(e.X)
	case *ast.ParenExpr:
		return source(e.X)
	case *ast.CompositeLit:
		s := "{"
		for _, x := range e.Elts {
			s += source(x) + ","
		}
		return s + "}"
	case *ast.KeyValueExpr:
		return source(e.Key) + ":" + source(e.Value)
	case *ast.IndexExpr:
		return source(e.X) + "[" + source(e.Index) + "]"
	}
	return "?"
}

// TestPaths holds the whole program to it. It runs with `make lint`.
func TestPaths(t *testing.T) {
	root, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	files := 0
	for _, top := range []string{"main.go", "spec", "hooks", "libvserver"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, name)
			if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") || strings.Contains(rel, "/internal/gen/") || err != nil {
				return err
			}
			files++
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
		next:
			for _, found := range inspectPaths(fset, f) {
				for _, e := range pathExceptions {
					if e.file == rel && slices.Contains(strings.Fields(e.calls), found.call) {
						used[e.file+" "+found.call] = true
						continue next
					}
				}
				t.Errorf("%s: %s %s: a container may lead it elsewhere; go by descriptors (libvserver/launch), or say in tests/arch/paths_test.go why it can't",
					strings.TrimPrefix(found.pos, root+"/"), found.call, found.what)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if files < 100 {
		t.Errorf("only %d files were looked at", files)
	}
	for _, e := range pathExceptions {
		if e.calls == "" || e.why == "" {
			t.Errorf("the exception for %s names no call, or no reason", e.file)
		}
		for _, c := range strings.Fields(e.calls) {
			if !used[e.file+" "+c] {
				t.Errorf("%s has no %s any more: take it from the exceptions", e.file, c)
			}
		}
	}
}

// TestInspectPaths: the rule bites.
func TestInspectPaths(t *testing.T) {
	for code, want := range map[string]string{
		`os.Create(name)`: "os.Create",
		`os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0)`:                 "os.OpenFile",
		`os.OpenFile(name, os.O_WRONLY, 0)`:                             "",
		`unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL, 0)`:           "",
		`unix.Openat(unix.AT_FDCWD, name, unix.O_CREAT|unix.O_EXCL, 0)`: "unix.Openat",
		`unix.Open(name, unix.O_RDWR|unix.O_CREAT, 0)`:                  "unix.Open",
		`unix.Mkdirat(dir, name, 0)`:                                    "",
		`unix.Mkdirat(unix.AT_FDCWD, name, 0)`:                          "unix.Mkdirat",
		`unix.MoveMount(fd, "", unix.AT_FDCWD, name, 0)`:                "unix.MoveMount",
		`syscall.Mount(a, b, c, 0, "")`:                                 "unix.Mount",
		`filepath.Join(p.Rootfs, name)`:                                 "filepath.Join",
		`filepath.Join(b.Rootfs(), name)`:                               "filepath.Join",
		`filepath.Join(dir, name)`:                                      "",
		`use(rootfs + "/" + name)`:                                      "+",
		`use(strings.HasPrefix(name, p.Rootfs+"/"))`:                    "",
		`use("/proc/" + pid + "/root/etc/passwd")`:                      "+",
		`use("/proc/" + pid + "/root" + name)`:                          "+",
		`use("/proc/" + pid + "/root")`:                                 "",
		`os.WriteFile("/proc/"+pid+"/uid_map", b, 0)`:                   "os.WriteFile os.WriteFile(/proc)",
		`unix.Open("/proc/self/oom_score_adj", unix.O_WRONLY, 0)`:       "unix.Open",
		`os.OpenFile("/proc/sys/kernel/core_pattern", os.O_RDWR, 0)`:    "os.OpenFile",
		`unix.Open("/proc/self/status", unix.O_RDONLY, 0)`:              "",
		`fmt.Errorf("%s", p.Rootfs+"/x")`:                               "",
	} {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, "x.go", "package x\nfunc f() { "+code+" }", parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, found := range inspectPaths(fset, f) {
			if !slices.Contains(got, found.call) {
				got = append(got, found.call)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: found %q, want %q", code, got, want)
		}
	}
}
