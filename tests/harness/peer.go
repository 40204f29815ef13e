package harness

import (
	_ "embed" // the C source
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed c/rlimit.c
var rlimitC string

// CompileC compiles one C file with gcc; text is written to dir/name first.
func CompileC(dir, name, text string, args ...string) error {
	src := filepath.Join(dir, name)
	if err := os.WriteFile(src, []byte(text), 0o644); err != nil {
		return err
	}
	args = append(append([]string{"-O2", "-Wall"}, args...), src)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("gcc %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// NeedsLimitShim reports whether an error text is that of a runtime which
// gives up when it may not raise a resource limit, as crun 1.8 does without
// CAP_SYS_RESOURCE on cgroup2.
func NeedsLimitShim(text string) bool {
	return strings.Contains(text, "setrlimit") && strings.Contains(strings.ToLower(text), "not permitted")
}

// LimitShim compiles a library in dir that hides that one error, and returns
// the environment variable that preloads it.
func LimitShim(dir string) (string, error) {
	so := filepath.Join(dir, "rlimit.so")
	if err := CompileC(dir, "rlimit.c", rlimitC, "-shared", "-fPIC", "-o", so); err != nil {
		return "", err
	}
	return "LD_PRELOAD=" + so, nil
}

// Adapt finds out how a peer can run a container on this host at all: as it
// is, else with a pure cgroup2 layout and the limit shim. It reports whether
// it needs the layout. scratch must outlive the runtime's use.
func (r *Runtime) Adapt(scratch string) (pureV2 bool, err error) {
	bundle := filepath.Join(scratch, "adapt")
	if err := MakeBundle(bundle, ""); err != nil {
		return false, err
	}
	var last string
	for _, pureV2 := range []bool{false, true} {
		for _, shim := range []bool{false, true} {
			if shim {
				if !NeedsLimitShim(last) {
					continue
				}
				env, err := LimitShim(scratch)
				if err != nil {
					return false, err
				}
				r.Env = append(r.Env, env)
			}
			res, err := r.Run(Call{Args: []string{"--root", filepath.Join(scratch, "adapt-root"), "run", "-b", bundle,
				"adapt-" + filepath.Base(scratch)}, PureV2: pureV2})
			if err != nil {
				return false, err
			}
			if res.Code == 0 {
				return pureV2, nil
			}
			last = strings.TrimSpace(res.Stderr)
		}
	}
	return false, fmt.Errorf("%s can't run a plain bundle here: %s", r.Path, last)
}
