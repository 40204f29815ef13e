package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/tests/harness"
)

const patience = time.Minute // the deadline of each wait: an emulated machine is slow, and only a failure waits so long

type command = func(ts *testscript.TestScript, neg bool, args []string)

// commands are the scripts' own words; CONTRIBUTING.md describes them.
var commands = map[string]command{
	"vsrun":     cmdVsrun,
	"rt":        cmdRt,
	"code":      cmdCode,
	"oneline":   cmdOneline,
	"mkbundle":  cmdMkbundle,
	"config":    cmdConfig,
	"ociwait":   cmdOciwait,
	"pidof":     cmdPidof,
	"conout":    cmdConout,
	"waitfile":  cmdWaitfile,
	"jsonis":    cmdJSONis,
	"setenv":    cmdSetenv,
	"gone":      cmdGone,
	"exeguard":  cmdExeguard,
	"bgwait":    cmdBgwait,
	"bgsignal":  cmdBgsignal,
	"pty":       cmdPty,
	"console":   cmdConsole,
	"talk":      cmdTalk,
	"pidfd":     cmdPidfd,
	"notify":    cmdNotify,
	"notified":  cmdNotified,
	"leakcheck": cmdLeakcheck,
	"user":      cmdUser,
	"via":       cmdVia,
}

// cmdVsrun calls the runtime with a --root of the script's own:
//
//	[!] vsrun [@in=FILE] [@fd=FILE]... [@timeout=D] [@cwd=DIR] ARGS... [&NAME]
func cmdVsrun(ts *testscript.TestScript, neg bool, args []string) {
	call(ts, neg, args, []string{"--root", ts.Getenv("ROOT")})
}

// cmdRt calls the runtime with nothing added.
func cmdRt(ts *testscript.TestScript, neg bool, args []string) { call(ts, neg, args, nil) }

func call(ts *testscript.TestScript, neg bool, args, global []string) {
	w := worldOf(ts)
	c, name := parseCall(ts, args, global)
	if name != "" {
		w.outputs[c.Args[len(c.Args)-1]] = c.Stdout
		w.start(ts, name, neg, c)
		return
	}
	defer closeAll(c.Extra, c.Stdin)
	res, err := rt.Run(c)
	if c.Stdout != "" && res.Code == 0 {
		w.outputs[c.Args[len(c.Args)-1]] = c.Stdout
	}
	report(ts, res)
	ts.Check(err)
	judge(ts, neg, res)
}

func report(ts *testscript.TestScript, res harness.Result) {
	_, _ = ts.Stdout().Write([]byte(res.Stdout))
	_, _ = ts.Stderr().Write([]byte(res.Stderr))
	worldOf(ts).code = res.Code
}

func judge(ts *testscript.TestScript, neg bool, res harness.Result) {
	if neg && res.Code == 0 {
		ts.Fatalf("unexpected success")
	}
	if !neg && res.Code != 0 {
		ts.Fatalf("exit code %d", res.Code)
	}
}

func parseCall(ts *testscript.TestScript, args, global []string) (harness.Call, string) {
	w := worldOf(ts)
	c := harness.Call{Dir: ts.MkAbs("."), PureV2: w.pureV2, Prefix: w.prefix, Env: environ(ts), Timeout: 2 * patience}
	for len(args) > 0 && strings.HasPrefix(args[0], "@") {
		key, val, _ := strings.Cut(args[0], "=")
		switch key {
		case "@in":
			f, err := os.Open(ts.MkAbs(val))
			ts.Check(err)
			c.Stdin = f
		case "@fd":
			f, err := os.OpenFile(ts.MkAbs(val), os.O_RDWR|os.O_CREATE, 0o644)
			ts.Check(err)
			c.Extra = append(c.Extra, f)
		case "@timeout":
			d, err := time.ParseDuration(val)
			ts.Check(err)
			c.Timeout = d
		case "@cwd":
			c.Dir = ts.MkAbs(val)
		default:
			ts.Fatalf("unknown option %s", args[0])
		}
		args = args[1:]
	}
	name := ""
	if n := len(args); n > 0 && len(args[n-1]) > 1 && strings.HasPrefix(args[n-1], "&") {
		name, args = args[n-1][1:], args[:n-1]
	}
	c.Args = append(append([]string{}, global...), args...)
	for _, a := range args {
		if a == "create" || a == "run" {
			w.calls++
			c.Stdout = filepath.Join(w.work, ".out", strconv.Itoa(w.calls))
			break
		}
	}
	return c, name
}

// environ is the script's environment; a runtime's own variables must come
// from the script alone.
func environ(ts *testscript.TestScript) []string {
	env := []string{"PATH=" + ts.Getenv("PATH"), "HOME=" + worldOf(ts).home(), harness.TagEnv + "=" + ts.Getenv(harness.TagEnv)}
	for _, key := range []string{"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "XDG_RUNTIME_DIR",
		"USER", "EXTRA"} {
		if v := ts.Getenv(key); v != "" {
			env = append(env, key+"="+v)
		}
	}
	return env
}

func closeAll(files []*os.File, more ...*os.File) {
	for _, f := range append(files, more...) {
		if f != nil {
			f.Close()
		}
	}
}

// cmdCode checks the exit code of the last call: code N.
func cmdCode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: code N")
	}
	got := strconv.Itoa(worldOf(ts).code)
	if (got == args[0]) == neg {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// cmdOneline checks that the last call wrote exactly one line to standard
// error, and that the line ends without a period.
func cmdOneline(ts *testscript.TestScript, _ bool, _ []string) {
	text := strings.TrimSuffix(ts.ReadFile("stderr"), "\n")
	if text == "" || strings.Contains(text, "\n") {
		ts.Fatalf("want one line of error, have %q", text)
	}
}

// cmdMkbundle makes a bundle: mkbundle DIR [EDIT]..., edits as harness.Edit has them.
func cmdMkbundle(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 0 {
		ts.Fatalf("usage: mkbundle DIR [EDIT]...")
	}
	edits := append([]string{`process.env+="` + harness.TagEnv + "=" + ts.Getenv(harness.TagEnv) + `"`}, args[1:]...)
	ts.Check(harness.MakeBundle(ts.MkAbs(args[0]), probe, edits...))
	worldOf(ts).give(ts, ts.MkAbs(args[0]))
}

// cmdConfig edits a bundle's config.json: config DIR EDIT...
func cmdConfig(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: config DIR EDIT...")
	}
	name := filepath.Join(ts.MkAbs(args[0]), "config.json")
	ts.Check(harness.EditFile(name, args[1:]...))
	worldOf(ts).give(ts, name)
}

func state(ts *testscript.TestScript, id string) (map[string]any, bool) {
	w := worldOf(ts)
	res, err := rt.Run(harness.Call{Args: []string{"--root", ts.Getenv("ROOT"), "state", id}, Env: environ(ts),
		PureV2: w.pureV2, Prefix: w.prefix})
	ts.Check(err)
	var doc map[string]any
	if res.Code != 0 || json.Unmarshal([]byte(res.Stdout), &doc) != nil {
		return nil, false
	}
	return doc, true
}

// cmdOciwait waits for a status: ociwait ID STATUS; STATUS gone means unknown
// to the runtime.
func cmdOciwait(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: ociwait ID STATUS")
	}
	last := any("gone")
	ok := harness.Poll(patience, func() bool {
		last = "gone"
		if doc, ok := state(ts, args[0]); ok {
			last = doc["status"]
		}
		return last == args[1]
	})
	if !ok {
		ts.Fatalf("%s is %v, not %s, after %v", args[0], last, args[1], patience)
	}
}

// cmdPidof sets a variable to a container's process id: pidof ID NAME.
func cmdPidof(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: pidof ID NAME")
	}
	doc, ok := state(ts, args[0])
	if !ok {
		ts.Fatalf("no state of %s", args[0])
	}
	pid, _ := doc["pid"].(float64)
	if pid < 1 {
		ts.Fatalf("state has pid %v", doc["pid"])
	}
	ts.Setenv(args[1], strconv.Itoa(int(pid)))
}

// cmdConout waits until the output of a container matches: conout ID REGEXP.
func cmdConout(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: conout ID REGEXP")
	}
	file, ok := worldOf(ts).outputs[args[0]]
	if !ok {
		ts.Fatalf("no output of %s: it was not created here", args[0])
	}
	waitFile(ts, neg, file, args[1])
}

// cmdWaitfile waits until a file is there and matches: waitfile FILE [REGEXP].
func cmdWaitfile(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 && len(args) != 2 {
		ts.Fatalf("usage: waitfile FILE [REGEXP]")
	}
	waitFile(ts, neg, ts.MkAbs(args[0]), append(args, "")[1])
}

func waitFile(ts *testscript.TestScript, neg bool, file, pattern string) {
	re, err := regexp.Compile("(?m)" + pattern)
	ts.Check(err)
	var data []byte
	match := func() bool {
		data, err = os.ReadFile(file)
		return err == nil && re.Match(data)
	}
	if neg {
		if match() {
			ts.Fatalf("%s matches %q: %s", file, pattern, data)
		}
		return
	}
	if !harness.Poll(patience, match) {
		ts.Fatalf("%s does not match %q after %v: %v, %q", file, pattern, patience, err, data)
	}
}

// cmdJSONis checks values in a JSON document:
// [!] jsonis FILE EXPECT..., FILE may be stdout, EXPECT as harness.Matches.
func cmdJSONis(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: jsonis FILE EXPECT...")
	}
	doc, err := harness.Decode([]byte(ts.ReadFile(args[0])))
	if err != nil {
		ts.Fatalf("%s: %v: %q", args[0], err, ts.ReadFile(args[0]))
	}
	for _, expect := range args[1:] {
		ok, got, err := harness.Matches(doc, expect)
		ts.Check(err)
		if ok == neg {
			text, _ := json.Marshal(got)
			ts.Fatalf("%s: has %s", expect, text)
		}
	}
}

// cmdSetenv sets a variable to a file's text, without its last newline:
// setenv NAME FILE.
func cmdSetenv(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: setenv NAME FILE")
	}
	ts.Setenv(args[0], strings.TrimSuffix(ts.ReadFile(args[1]), "\n"))
}

// cmdGone waits until a process has ended: gone PID.
func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: gone PID")
	}
	pid, err := strconv.Atoi(args[0])
	ts.Check(err)
	if neg {
		if harness.Gone(pid) {
			ts.Fatalf("process %d has ended", pid)
		}
		return
	}
	if !harness.Poll(patience, func() bool { return harness.Gone(pid) }) {
		ts.Fatalf("process %d is still alive after %v", pid, patience)
	}
}

// cmdExeguard checks that a process can't be the way to write the runtime's
// binary: it runs another file, or one behind a read-only mount, or one that
// fs-verity seals: exeguard PID.
func cmdExeguard(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: exeguard PID")
	}
	exe := "/proc/" + args[0] + "/exe"
	var seen, own unix.Statx_t
	ts.Check(unix.Statx(unix.AT_FDCWD, exe, 0, unix.STATX_BASIC_STATS, &seen))
	ts.Check(unix.Statx(unix.AT_FDCWD, rt.Path, 0, unix.STATX_BASIC_STATS, &own))
	var fs unix.Statfs_t
	ts.Check(unix.Statfs(exe, &fs))
	same := seen.Ino == own.Ino && seen.Dev_major == own.Dev_major && seen.Dev_minor == own.Dev_minor
	if same && fs.Flags&unix.ST_RDONLY == 0 && seen.Attributes&unix.STATX_ATTR_VERITY == 0 {
		ts.Fatalf("process %s runs the host's own %s, through a writable mount", args[0], rt.Path)
	}
}

// cmdLeakcheck checks in the middle of a script what is checked at its end
// anyhow.
func cmdLeakcheck(ts *testscript.TestScript, _ bool, _ []string) {
	w := worldOf(ts)
	if found := harness.Leaks(w.tag, w.work, ts.Getenv("ROOT")); len(found) > 0 {
		ts.Fatalf("left behind: %s", strings.Join(found, "; "))
	}
}
