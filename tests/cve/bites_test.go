package cve

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vsrun/vsrun/tests/harness"
)

var bites = flag.Bool("bites", false, "prove that the attacks bite, on builds of vsrun that were weakened")

// mutation weakens vsrun's source: every old text is replaced. The build takes the changed files by go build -overlay, so
// that nothing of it is ever in the tree.
type mutation struct {
	name  string
	tests string // a regular expression of the tests that must then fail; each test of the list must
	edits []edit
	bare  bool // without the entry point that guards the binary
}

type edit struct{ file, old, new string }

const dirLaunch = "libvserver/launch/"

// weak are the mutations: each takes one defence away.
var weak = []mutation{
	{name: "targets are looked up by plain paths", tests: "TestMountTargets TestRootfsLinks/dev-without-a-mount-absolute TestRaceTarget TestRaceMake", edits: []edit{
		{dirLaunch + "compile.go", "c.howPath = c.how(unix.O_PATH|unix.O_CLOEXEC, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)", "c.howPath = c.how(unix.O_PATH|unix.O_CLOEXEC, 0)"},
		{dirLaunch + "compile.go", "c.howFinal = c.how(unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)", "c.howFinal = c.how(unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)"},
		{dirLaunch + "compile.go", "c.howDir = c.how(unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_MAGICLINKS)", "c.howDir = c.how(unix.O_PATH|unix.O_CLOEXEC|unix.O_DIRECTORY, 0)"},
	}},
	{name: "proc and sysfs are mounted through links", tests: "TestRootfsLinks/proc-absolute TestRootfsLinks/sys-relative", edits: []edit{
		{dirLaunch + "compile_mount.go", "unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS", "unix.RESOLVE_IN_ROOT"},
	}},
	{name: "masks are of the container's own /dev/null", tests: "TestFakeNull/rootfs TestFakeNull/bind", edits: []edit{
		{dirLaunch + "compile_mount.go", `c.into(c.openTree(val(atFDCWD), "/dev/null", 0), m)`, `c.into(c.openTree(c.openRoot("/dev/null", c.howPath).arg(), "", 0), m)`},
		{dirLaunch + "compile_mount.go", `c.checkDevice(unix.S_IFCHR, unix.Mkdev(1, 3), "the host's /dev/null is not the null device")`, ""},
		{dirLaunch + "compile_device.go", `c.checkDevice(kind, rdev, s.Path+" is there already, and is not that device")`, ""},
		{"libvserver/plan/build.go", "b.add(NullStdio{Origin: Default})", ""},
		{dirLaunch + "compile_mount.go", "&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC}", "&unix.MountAttr{Attr_set: unix.MOUNT_ATTR_NOSUID}"},
	}},
	{name: "the container's own /proc is written", tests: "TestRaceProc TestFakeProc TestFakeProcLabel", edits: []edit{
		{dirLaunch + "compile.go", "return c.call(unix.SYS_OPENAT2, \"open /proc/\"+file, val(c.d.Proc),", "if c.rooted { return c.openRootAt(\"proc/\"+file, c.how(unix.O_WRONLY|unix.O_CLOEXEC, unix.RESOLVE_IN_ROOT)) }\n\treturn c.call(unix.SYS_OPENAT2, \"open /proc/\"+file, val(c.d.Proc),"},
		{dirLaunch + "compile_mount.go", "unix.RESOLVE_IN_ROOT|unix.RESOLVE_NO_SYMLINKS", "unix.RESOLVE_IN_ROOT"},
		{"spec/check_mounts.go", `c.faultAt(at("mounts", i, "destination"), quote(m.Destination)+" cannot be mounted because it is inside /proc")`, ""},
	}},
	{name: "exec writes to /proc after it has joined", tests: "TestExecFakeProc", edits: []edit{
		{"libvserver/plan/exec.go", "	if p.OOMScoreAdj != nil {\n		b.add(OOMScoreAdj{\"process.oomScoreAdj\", *p.OOMScoreAdj})\n	}\n", ""},
		{"libvserver/plan/exec.go", "	b.add(NewSession{Default})\n", "	b.add(NewSession{Default})\n	if p.OOMScoreAdj != nil {\n		b.add(OOMScoreAdj{\"process.oomScoreAdj\", *p.OOMScoreAdj})\n	}\n"},
		{dirLaunch + "compile.go", "return c.call(unix.SYS_OPENAT2, \"open /proc/\"+file, val(c.d.Proc), val(c.cstring(file)), val(c.howProc), val(unsafe.Sizeof(unix.OpenHow{})))", "return c.call(unix.SYS_OPENAT, \"open /proc/\"+file, val(atFDCWD), val(c.cstring(\"/proc/\"+file)), val(unix.O_WRONLY|unix.O_CLOEXEC))"},
	}},
	{name: "a mount inside /proc is taken", tests: "TestMountInProc", edits: []edit{
		{"spec/check_mounts.go", `c.faultAt(at("mounts", i, "destination"), quote(m.Destination)+" cannot be mounted because it is inside /proc")`, ""},
	}},
	{name: "nothing is masked or made read-only", tests: "TestProcDefaults TestRaceReadonly", edits: []edit{
		{"libvserver/plan/build.go", "for i, p := range b.linux.ReadonlyPaths {", "for i, p := range b.linux.ReadonlyPaths[:0] {"},
		{"libvserver/plan/build.go", "for i, p := range b.linux.MaskedPaths {", "for i, p := range b.linux.MaskedPaths[:0] {"},
	}},
	{name: "a readonly path is looked up twice", tests: "TestRaceReadonly", edits: []edit{
		{dirLaunch + "compile_mount.go", "	c.setattr(m.arg(), \"\", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY})\n	c.moveMount(m, t)\n", "	c.moveMount(m, t)\n	t2 := c.openRoot(s.Path, c.howPath)\n	c.ignore(c.setattr(t2.arg(), \"\", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}), unix.EINVAL)\n"},
		{"libvserver/plan/build.go", "for i, p := range b.linux.MaskedPaths {", "for i, p := range b.linux.MaskedPaths[:0] {"},
	}},
	{name: "/dev/console is made and mounted by its path", tests: "TestRaceConsole", edits: []edit{
		{dirLaunch + "compile_device.go", `c.ignore(c.call(unix.SYS_MKNODAT, "make file /dev/console", d.arg(), val(c.cstring("console")), val(unix.S_IFREG|0o620), val(0)), unix.EEXIST, unix.EROFS)`, `_ = d; c.into(c.call(unix.SYS_OPENAT, "", c.root.arg(), val(c.cstring("dev/console")), val(unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC), val(0o620)), c.newSlot())`},
	}},
	{name: "a descriptor of the host's root is left open", tests: "TestCwdFD TestLeakedFDs", edits: []edit{
		{dirLaunch + "compile.go", "	if d.Peer > 0 {\n", "	p.call(unix.SYS_OPENAT, \"\", val(atFDCWD), val(p.cstring(\"/\")), val(unix.O_PATH|unix.O_DIRECTORY))\n	if d.Peer > 0 {\n"},
		{dirLaunch + "compile_process.go", "c.closeFrom(3+s.Preserve, 0, c.d.Reports, c.d.Listener)", ""},
		{dirLaunch + "compile_exec.go", "	c.closeFrom(3+s.Preserve, 0, c.d.Reports, c.d.Init, c.d.Root, c.d.Console)\n", ""},
		{dirLaunch + "compile_process.go", `c.fail(unix.ENOENT, "it lies outside the container's root")`, ""},
	}},
	{name: "who joins can be traced", tests: "TestJoinTraced/with-CAP_SYS_PTRACE-exec", edits: []edit{
		{dirLaunch + "compile_exec.go", "	c.prctl(\"PR_SET_DUMPABLE\", unix.PR_SET_DUMPABLE, 0)\n	if c.d.PIDInside", "	if c.d.PIDInside"},
		{dirLaunch + "compile_exec.go", "	c.closeFrom(3+s.Preserve, 0, c.d.Reports, c.d.Init, c.d.Root, c.d.Console)\n", ""},
		{dirLaunch + "exec.go", "func (t *Target) inside() bool { return t.Unprivileged || t.Traced }", "func (t *Target) inside() bool { return t.Unprivileged }"},
		{dirLaunch + "exec.go", "_ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)", ""},
	}},
	{name: "an exec does not ask who came later", tests: "TestJoinTracedByOther/exec---cap TestJoinTracedByOther/another-container TestHookTracedByOther", edits: []edit{
		{"libvserver/tracers.go", " || r.Store.Traced(id))", ")"},
	}},
	{name: "who joins keeps the environment of the caller", tests: "TestJoinPeeked/exec,withCAP_SYS_PTRACE", edits: []edit{
		{dirLaunch + "compile_exec.go", "		c.forget() // what the program gets is kept elsewhere\n", ""},
	}},
	{name: "who waits for start keeps the environment of the caller", tests: "TestCreatedPeeked/in-the-runtime's-memory TestCreatedPeeked/in-a-copy-of-it", edits: []edit{
		{"libvserver/create.go", "			launch.Forget()\n", ""},
		{dirLaunch + "compile_process.go", "			c.forget()\n", ""},
	}},
	{name: "of the caller's environment Go's copies are left", tests: "TestJoinPeeked/exec,withCAP_SYS_PTRACE TestCreatedPeeked/in-a-copy-of-it", edits: []edit{
		{dirLaunch + "forget.go", `p := uintptr(unsafe.Pointer(unsafe.StringData(e))); e != ""`, `p := uintptr(unsafe.Pointer(unsafe.StringData(e))); false`},
	}},
	{name: "who joins is seen with the mounts of the host", tests: "TestJoinPeeked/exec", edits: []edit{
		{dirLaunch + "exec.go", "return t.Namespaces & (unix.CLONE_NEWPID | unix.CLONE_NEWNS)", "return t.Namespaces & unix.CLONE_NEWPID"},
	}},
	{name: "a path below a cgroup has no end", tests: "TestDeepCgroup", edits: []edit{
		{"libvserver/cgroup/sys.go", "	if len(path) > longPath {\n", "	if false {\n"},
	}},
	{name: "what tmpcopyup copies is looked up twice", tests: "TestRaceCopyUp", edits: []edit{
		{"libvserver/copyup.go", "	switch st.Mode & unix.S_IFMT {\n	case unix.S_IFDIR:\n		if err = unix.Mkdirat(to, name, 0o700)",
			"	if fd, err = unix.Openat(from, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); err != nil {\n		return err\n	}\n	switch st.Mode & unix.S_IFMT {\n	case unix.S_IFDIR:\n		if err = unix.Mkdirat(to, name, 0o700)"},
	}},
	{name: "the container's passwd is opened whatever it is", tests: "TestPasswdDevice", edits: []edit{
		{"libvserver/facts.go", "how := &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC,", "how := &unix.OpenHow{Flags: unix.O_NONBLOCK | unix.O_CLOEXEC,"},
	}},
	{name: "streams are the host's null device", tests: "TestNullDevice", edits: []edit{
		{"libvserver/plan/build.go", "b.add(NullStdio{Origin: Default})", ""},
		{"libvserver/plan/exec.go", "b.add(NullStdio{Origin: Default, Running: true})", ""},
	}},
	{name: "the notify socket's directory is not read-only", tests: "TestNotifyDirectory", edits: []edit{
		{"libvserver/plan/mounts.go", "Set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID", "Set: unix.MOUNT_ATTR_NOSUID"},
	}},
	{name: "hooks get the program's environment", tests: "TestHookEnvironment", edits: []edit{
		{"libvserver/hook.go", "launch.RunIn(pidfd, ns, apart, rec.Rootfs, path, args, env, in, out)", "launch.RunIn(pidfd, ns, apart, rec.Rootfs, path, args, append(env, s.Process.Env...), in, out)"},
	}},
	{name: "the binary is not guarded", tests: "TestExeCreated TestExeExec", bare: true, edits: []edit{
		{"libvserver/guard/guard.go", "	if mount != 0 || Safe() {\n", "	if true {\n"},
	}},
	{name: "any sysctl is taken", tests: "TestSysctls", edits: []edit{
		{"spec/check_sysctl.go", `return "is not allowed: it belongs to no namespace, so it would be set on the host"`, `return ""`},
	}},
	{name: "any id is taken", tests: "TestIDs", edits: []edit{
		{"libvserver/state/id.go", "	if len(id) > maxID {\n", "	if true {\n		return nil\n	}\n	if len(id) > maxID {\n"},
		{"libvserver/cgroup/options.go", `if o.ID == "" || o.ID == "." || o.ID == ".." || strings.ContainsAny(o.ID, "/\x00") {`, `if o.ID == "" {`},
	}},
	{name: "exec --cgroup takes any path", tests: "TestExecCgroup", edits: []edit{
		{"libvserver/exec_cgroup.go", "			if c == \"..\" {\n", "			if false && c == \"..\" {\n"},
	}},
	{name: "cgroupsPath takes any path", tests: "TestCgroupsPath", edits: []edit{
		{"libvserver/cgroup/options.go", "		case \"..\":\n			return \"\", fmt.Errorf(\"%s: %q must not contain \\\"..\\\"\", placePath, p)\n", ""},
	}},
	{name: "inheritable capabilities follow the bounding set", tests: "TestInheritable", edits: []edit{
		{"libvserver/plan/process.go", `Inheritable: b.caps("inheritable", c.Inheritable)`, `Inheritable: b.caps("inheritable", c.Bounding)`},
	}},
	{name: "the template has inheritable capabilities", tests: "TestSpecInheritable", edits: []edit{
		{"spec/template.go", "Permitted: caps(),", "Permitted: caps(), Inheritable: caps(),"},
	}},
	{name: "exec -u takes a number for a name first", tests: "TestExecUser/1 TestExecUser/1000", edits: []edit{
		{"libvserver/exec_user.go", "if uid, ok := number(user); ok {", "if uid, ok := number(user); ok && e.userByName(p, user, false) != nil {"},
		{"libvserver/exec_user.go", "} else if isNumber(user) {", "} else if !ok && isNumber(user) {"},
		{"libvserver/exec_user.go", "if err := e.userByName(p, user, !hasGroup); err != nil {", "if err := e.userByName(p, user, !hasGroup); err != nil && !ok {"},
	}},
	{name: "without rules every device is allowed", tests: "TestDeviceDefault", edits: []edit{
		{"libvserver/cgroup/devices.go", "next:\n	for i := range defaultRules {\n", "	if n == 0 {\n		return []rule{{allow: true, typ: 'a', major: anyNumber, minor: anyNumber, access: 7}}, nil\n	}\nnext:\n	for i := range defaultRules {\n"},
	}},
	{name: "the cgroup mount is not read-only", tests: "TestCgroupMount", edits: []edit{
		{"libvserver/plan/cgroupmount.go", "	c := b.facts.Cgroup\n", "	c := b.facts.Cgroup\n	s.Set, s.RecSet = 0, 0\n"},
	}},
	{name: "features is silent about systemd's properties", tests: "TestSystemdProperties", edits: []edit{
		{"libvserver/features/features.go", `"org.systemd.property.", // libvserver/cgroup`, ""},
	}},
	{name: "a list of mappings is cut to what fits", tests: "TestManyMappings", edits: []edit{
		{"spec/check_namespaces.go", "	if len(m) > maxMappings {\n", "	if len(m) > 1<<16 {\n"},
		{"libvserver/idmap.go", "	caps, err := host.OwnCaps()\n", "	c.UIDs, c.GIDs = c.UIDs[:min(len(c.UIDs), 300)], c.GIDs[:min(len(c.GIDs), 300)]\n	caps, err := host.OwnCaps()\n"},
	}},
	// vsrun does neither of these: they are added as others had them.
	{name: "the cgroup of an annotation is given to the container", tests: "TestDelegateCgroup", edits: []edit{
		{"libvserver/create_launch.go", "	_ = fault.On && fault.At(fault.CgroupMade)\n", `	if to := n.bundle.Spec.Annotations["run.oci.delegate-cgroup"]; to != "" {
		for _, dir := range n.cg.Paths() {
			_ = os.Chown(dir+"/"+to, int(n.plan.Clone.UIDs[0].Host), int(n.plan.Clone.GIDs[0].Host))
		}
	}
`},
	}},
	{name: "a handler makes its file by its path", tests: "TestHandlerFile", edits: []edit{
		{"libvserver/create_launch.go", "	_ = fault.On && fault.At(fault.CgroupMade)\n", `	if n.bundle.Spec.Annotations["run.oci.handler"] == "krun" {
		_ = os.WriteFile(n.bundle.Rootfs()+"/.krun_config.json", []byte("{}"), 0o600)
	}
`},
	}},
	{name: "a library of the container is opened", tests: "TestForeignLibraries", edits: []edit{
		{"libvserver/exec_user.go", `text, err := readIn(e.rootFD(), "etc/passwd")`, `_, _ = readIn(e.rootFD(), "lib/libnss_files.so.2")` + "\n	" + `text, err := readIn(e.rootFD(), "etc/passwd")`},
	}},
	{name: "a created container has an abstract socket", tests: "TestAbstractSockets", edits: []edit{
		{"libvserver/socket.go", `return &unix.SockaddrUnix{Name: "/proc/self/fd/" + strconv.Itoa(dirfd) + "/" + startSocket}`,
			"var st unix.Stat_t\n	_ = unix.Fstat(dirfd, &st)\n	return &unix.SockaddrUnix{Name: \"@vsrun-\" + strconv.FormatUint(st.Ino, 10)}"},
	}},
}

// protect runs a command in a mount namespace of its own in which the host's tree is read-only, but for what the attacks use:
// a weakened runtime may do what it should not.
const protect = `mount --make-rprivate / && mount --bind /tmp /tmp && mount --bind /run /run && mount -o remount,bind,ro / && exec "$@"`

// TestBites builds vsrun without one of its defences after the other; what the defence is for must then succeed.
func TestBites(t *testing.T) {
	if !*bites {
		t.Skip("is run by `make cve-bites`: it lets weakened builds of vsrun at this machine, in a mount namespace of their own")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: real containers with namespaces, mounts and cgroups")
	}
	root, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range weak {
		t.Run(strings.NewReplacer(" ", "-", "/", "").Replace(m.name), func(t *testing.T) {
			dir, err := os.MkdirTemp("", "vsrun-weak")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(dir)
			m.build(t, root, dir)
			for test := range strings.FieldsSeq(m.tests) {
				pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(test), "/", "$/^") + "$"
				cmd := exec.Command("unshare", "-m", "sh", "-c", protect, "sh", self, "-test.run", pattern, "-table")
				cmd.Env = append(os.Environ(), "RUNTIME="+filepath.Join(dir, "vsrun"), "VSRUN_CVE_ATTACKER="+attacker)
				out, err := cmd.CombinedOutput()
				fell := regexp.MustCompile(`(?m)^FALLS +.*$`).FindString(string(out))
				if err == nil || fell == "" {
					t.Errorf("%s does not bite: %v\n%s", test, err, out)
					continue
				}
				fmt.Printf("bites   %-46s %s\n", test, m.name)
			}
		})
	}
}

// weaken returns the weakened sources by their names. It is an error if a text is not there: the source has moved on.
func (m *mutation) weaken(root string) (map[string]string, error) {
	texts := map[string]string{}
	for _, e := range m.edits {
		name := filepath.Join(root, e.file)
		if _, ok := texts[name]; !ok {
			raw, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			texts[name] = string(raw)
		}
		if !strings.Contains(texts[name], e.old) {
			return nil, fmt.Errorf("%s has changed, and there is nothing to weaken any more: %q", e.file, e.old)
		}
		texts[name] = strings.ReplaceAll(texts[name], e.old, e.new)
	}
	return texts, nil
}

// build makes the weakened binary.
func (m *mutation) build(t *testing.T, root, dir string) {
	t.Helper()
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	texts, err := m.weaken(root)
	if err != nil {
		t.Fatal(err)
	}
	i := 0
	for name, text := range texts {
		i++
		file := filepath.Join(dir, fmt.Sprintf("%d.go", i))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[name] = file
	}
	raw, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	flags := "-s -w -X main.version=0-weakened"
	if !m.bare {
		flags += " -E github.com/vsrun/vsrun/libvserver/guard.entry"
	}
	cmd := exec.Command("go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-trimpath", "-tags", "netgo,osusergo", "-ldflags", flags,
		"-o", filepath.Join(dir, "vsrun"), ".")
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
}

// TestWeakened: each mutation names tests that there are, and code that is there.
func TestWeakened(t *testing.T) {
	root, err := harness.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	var src string
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		src += string(raw)
	}
	var names []string
	for _, m := range weak {
		if slices.Contains(names, m.name) || len(m.edits) == 0 {
			t.Errorf("%q twice, or without an edit", m.name)
		}
		names = append(names, m.name)
		if _, err := m.weaken(root); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		for test := range strings.FieldsSeq(m.tests) {
			name, _, _ := strings.Cut(test, "/")
			if !strings.Contains(src, "func "+name+"(t *testing.T)") {
				t.Errorf("%s: there is no %s", m.name, name)
			}
		}
	}
}
