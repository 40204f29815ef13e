package spec

import "testing"

func TestProcess(t *testing.T) {
	runChecks(t, []checkTest{
		{`-process`, ``},
		{`-process.cwd`, `process.cwd: is required`},
		{`process.cwd="usr"`, `process.cwd: must be an absolute path (got "usr")`},
		{`process.cwd="/a\u0000"`, `process.cwd: must not contain a NUL byte (got "/a\x00")`},
		{`-process.args`, `process.args: must have at least one entry`},
		{`process.args=[]`, `process.args: must have at least one entry`},
		{`process.args=["a","b\u0000c"]`, `process.args[1]: must not contain a NUL byte (got "b\x00c")`},
		{`process.env=["A=1","B=\u0000"]`, `process.env[1]: must not contain a NUL byte (got "B=\x00")`},
		{`process.env=["A","=x","","B=","C=D=E"]`, "process.env[0]: must be NAME=VALUE (got \"A\")\nprocess.env[1]: must be NAME=VALUE (got \"=x\")\nprocess.env[2]: must be NAME=VALUE (got \"\")"},
		{`-process.user`, ``},
		{`process.user.umask=511`, ``},
		{`process.user.umask=512`, `process.user.umask: must not be more than 511, octal 777 (got 512)`},
		{`process.user.uid=-1`, `process.user.uid: must not be negative (got -1)`},
		{`process.user.uid=4294967296`, `process.user.uid: must be a whole number that fits 32 bits (got 4294967296)`},
		{`process.user.additionalGids=["x"]`, `process.user.additionalGids[0]: must be a whole number (got "x")`},
		{`process.terminal="yes"`, `process.terminal: must be true or false (got "yes")`},
		{`process.consoleSize={"height":70000,"width":70000}`, ``},
		{`process.terminal=true ;; process.consoleSize={"height":65535,"width":65535}`, ``},
		{`process.terminal=true ;; process.consoleSize={"height":65536,"width":65536}`, "process.consoleSize.height: must not be more than 65535 (got 65536)\nprocess.consoleSize.width: must not be more than 65535 (got 65536)"},
		{`process.oomScoreAdj=-1000`, ``},
		{`process.oomScoreAdj=1000`, ``},
		{`process.oomScoreAdj=-1001`, `process.oomScoreAdj: must be from -1000 to 1000 (got -1001)`},
		{`process.oomScoreAdj=1001`, `process.oomScoreAdj: must be from -1000 to 1000 (got 1001)`},
		{`process.apparmorProfile="a\u0000"`, `process.apparmorProfile: must not contain a NUL byte (got "a\x00")`},
		{`process.selinuxLabel="a\u0000"`, `process.selinuxLabel: must not contain a NUL byte (got "a\x00")`},
	})
}

func TestRlimits(t *testing.T) {
	runChecks(t, []checkTest{
		{`process.rlimits[0].type="RLIMIT_X"`, `process.rlimits[0].type: unknown rlimit "RLIMIT_X"`},
		{`process.rlimits[0].type="nofile"`, `process.rlimits[0].type: unknown rlimit "nofile" (did you mean "RLIMIT_NOFILE"?)`},
		{`process.rlimits[0].type="RLIMIT_NOFILES"`, `process.rlimits[0].type: unknown rlimit "RLIMIT_NOFILES" (did you mean "RLIMIT_NOFILE"?)`},
		{`-process.rlimits[0].type`, `process.rlimits[0].type: is required`},
		{`process.rlimits[1].type="RLIMIT_NOFILE"`, `process.rlimits[1].type: duplicate rlimit "RLIMIT_NOFILE"`},
		{`-process.rlimits[0].soft`, `process.rlimits[0].soft: is required`},
		{`process.rlimits[0].soft=1025`, `process.rlimits[0].soft: must not exceed hard (1025 > 1024)`},
		{`process.rlimits[0].soft=18446744073709551615 ;; process.rlimits[0].hard=18446744073709551615`, ``},
		{`process.rlimits[0]="x"`, `process.rlimits[0]: must be an object (got "x")`},
	})
	for n, name := range rlimits {
		if got, ok := Rlimit(name); !ok || got != n {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
		runChecks(t, []checkTest{{`process.rlimits=[{"type":"` + name + `","soft":1,"hard":2}]`, ``}})
	}
}

func TestScheduler(t *testing.T) {
	const p = "process.scheduler"
	runChecks(t, []checkTest{
		{p + `={}`, p + ".policy: is required"},
		{p + `={"policy":"SCHED_OTHER"}`, ``},
		{p + `={"policy":"SCHED_OTHER","nice":-20}`, ``},
		{p + `={"policy":"SCHED_OTHER","nice":19}`, ``},
		{p + `={"policy":"SCHED_OTHER","nice":-21}`, p + ".nice: must be from -20 to 19 (got -21)"},
		{p + `={"policy":"SCHED_BATCH","nice":20}`, p + ".nice: must be from -20 to 19 (got 20)"},
		{p + `={"policy":"SCHED_IDLE","nice":20}`, ``},
		{p + `={"policy":"SCHED_ISO"}`, ``},
		{p + `={"policy":"SCHED_FIFO","priority":1}`, ``},
		{p + `={"policy":"SCHED_RR","priority":99}`, ``},
		{p + `={"policy":"SCHED_FIFO"}`, p + ".priority: must be from 1 to 99 (got 0)"},
		{p + `={"policy":"SCHED_RR","priority":100}`, p + ".priority: must be from 1 to 99 (got 100)"},
		{p + `={"policy":"SCHED_OTHER","priority":1}`, p + ".priority: is only for SCHED_FIFO and SCHED_RR"},
		{p + `={"policy":"SCHED_DEADLINE","runtime":5,"deadline":10,"period":20}`, ``},
		{p + `={"policy":"SCHED_DEADLINE","runtime":5,"deadline":10}`, ``},
		{p + `={"policy":"SCHED_DEADLINE"}`, p + ".runtime: is required for SCHED_DEADLINE"},
		{p + `={"policy":"SCHED_DEADLINE","runtime":11,"deadline":10}`, p + ": must have runtime <= deadline <= period (got 11, 10, 0)"},
		{p + `={"policy":"SCHED_DEADLINE","runtime":5,"deadline":30,"period":20}`, p + ": must have runtime <= deadline <= period (got 5, 30, 20)"},
		{p + `={"policy":"SCHED_RR","priority":1,"runtime":1,"deadline":1,"period":1}`, p + ".runtime: is only for SCHED_DEADLINE\n" + p + ".deadline: is only for SCHED_DEADLINE\n" + p + ".period: is only for SCHED_DEADLINE"},
		{p + `={"policy":"SCHED_FIFA","priority":0}`, p + `.policy: unknown policy "SCHED_FIFA" (did you mean "SCHED_FIFO"?)`},
		{p + `={"policy":"SCHED_OTHER","flags":["SCHED_FLAG_RESET_ON_FORK","SCHED_FLAG_RECLAIM","SCHED_FLAG_DL_OVERRUN","SCHED_FLAG_KEEP_POLICY","SCHED_FLAG_KEEP_PARAMS","SCHED_FLAG_UTIL_CLAMP_MIN","SCHED_FLAG_UTIL_CLAMP_MAX"]}`, ``},
		{p + `={"policy":"SCHED_OTHER","flags":["SCHED_FLAG_RECLAIM","SCHED_FLAG_MAX"]}`, p + `.flags[1]: unknown flag "SCHED_FLAG_MAX" (known: SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_RECLAIM, SCHED_FLAG_DL_OVERRUN, SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_KEEP_PARAMS, SCHED_FLAG_UTIL_CLAMP_MIN, SCHED_FLAG_UTIL_CLAMP_MAX)`},
	})
}

func TestIOPriorityAndAffinity(t *testing.T) {
	const p = "process.ioPriority"
	runChecks(t, []checkTest{
		{p + `={"class":"IOPRIO_CLASS_RT","priority":0}`, ``},
		{p + `={"class":"IOPRIO_CLASS_BE","priority":7}`, ``},
		{p + `={"class":"IOPRIO_CLASS_IDLE","priority":0}`, ``},
		{p + `={"class":"IOPRIO_CLASS_BE"}`, p + ".priority: is required"},
		{p + `={"priority":1}`, p + ".class: is required"},
		{p + `={"class":"IOPRIO_CLASS_NONE","priority":8}`, p + ".class: unknown class \"IOPRIO_CLASS_NONE\" (known: IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE)\n" + p + ".priority: must be from 0 to 7 (got 8)"},
		{p + `={"class":"IOPRIO_CLASS_BE","priority":-1}`, p + ".priority: must be from 0 to 7 (got -1)"},
		{`process.execCPUAffinity={"initial":"7","final":"0-3,7"}`, ``},
		{`process.execCPUAffinity={"initial":"a"}`, `process.execCPUAffinity.initial: must be a list of numbers and ranges, like 0-3,7 (got "a")`},
		{`process.execCPUAffinity={"final":"3-1"}`, `process.execCPUAffinity.final: has a range that ends before it begins: 3-1`},
	})
}

func TestCapabilities(t *testing.T) {
	for n, name := range Capabilities() {
		if got, ok := Capability(name); !ok || got != n {
			t.Errorf("%s: %d, %v", name, got, ok)
		}
	}
	if n := len(Capabilities()); n != 41 {
		t.Errorf("%d capabilities are known", n)
	}
	const c = "process.capabilities"
	runWarnings(t, []checkTest{
		{c + `={"bounding":["CAP_CHOWN","CAP_NONE"],"effective":["chown"]}`, c + ".bounding[1]: ignoring unknown capability \"CAP_NONE\"\n" + c + ".effective[0]: ignoring unknown capability \"chown\""},
		{c + `={"permitted":["CAP_CHOWN","CAP_KILL"],"inheritable":["CAP_CHOWN"],"ambient":["CAP_CHOWN","CAP_KILL","CAP_SYS_TIME"]}`, c + ".ambient: CAP_KILL, CAP_SYS_TIME cannot be raised: not both permitted and inheritable"},
		{c + `={"permitted":["CAP_CHECKPOINT_RESTORE"],"inheritable":["CAP_CHECKPOINT_RESTORE"],"ambient":["CAP_CHECKPOINT_RESTORE"]}`, ``},
	})
}

func TestHooks(t *testing.T) {
	for _, kind := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
		h := "hooks." + kind
		runChecks(t, []checkTest{
			{h + `=[{"path":"/bin/true","args":["true"],"env":["A=B"],"timeout":1}]`, ``},
			{h + `=[{"path":"/bin/true"},{}]`, h + "[1].path: is required"},
			{h + `=[{"path":"true"}]`, h + `[0].path: must be an absolute path (got "true")`},
			{h + `=[{"path":"/t\u0000"}]`, h + `[0].path: must not contain a NUL byte (got "/t\x00")`},
			{h + `=[{"path":"/t","timeout":0}]`, h + `[0].timeout: must be greater than 0 (got 0)`},
			{h + `=[{"path":"/t","timeout":-5}]`, h + `[0].timeout: must be greater than 0 (got -5)`},
			{h + `=[{"path":"/t","args":["a","\u0000"]}]`, h + `[0].args[1]: must not contain a NUL byte (got "\x00")`},
			{h + `=[{"path":"/t","env":["\u0000"]}]`, h + `[0].env[0]: must not contain a NUL byte (got "\x00")`},
			{h + `={}`, h + `: must be an array (got an object)`},
		})
	}
}

func TestParseProcess(t *testing.T) {
	p, err := ParseProcess([]byte(`{"args":["ls"],"cwd":"/","user":{"uid":5}}`))
	if err != nil || p.User.UID != 5 || p.Args[0] != "ls" {
		t.Error(p, err)
	}
	for _, tt := range []checkTest{
		{`{}`, "2 faults: process.cwd: is required; process.args: must have at least one entry"},
		{`{"args":"x","cwd":"/"}`, `process.args: must be an array (got "x")`},
		{`null`, `process: must be an object (got null)`},
		{`7`, `process: must be an object (got 7)`},
		{`{"args":[}`, `line 1, column 10: expected a value, found '}' (in args[0])`},
		{`{"args":["x"],"cwd":"/","capabilities":{"bounding":["x"]}}`, ``},
	} {
		_, err := ParseProcess([]byte(tt.edits))
		if got := errText(err); got != tt.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tt.edits, got, tt.want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
