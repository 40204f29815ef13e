// Package job does, inside vsrun-helper, what libvserver/cgroup needs github.com/opencontainers/cgroups for: the systemd
// driver, and statistics. The library brings D-Bus, net, crypto and encoding/json along, which would cost every start
// of vsrun a third of its time; so this package must never be linked into vsrun itself.
//
// A request is a JSON object with the members of type request. The answer is
//
//	{"log": [{"level": "warning", "message": "…"}], "error": "…", "answer": …}
//
// where log has what the library logged, and error and answer may be missing. Jobs:
//
//	cgroup-stats    → the data member of what runc events --stats prints
//	systemd-check   checks the values of properties
//	systemd-apply   makes the unit around a process and sets limits → the cgroup's directories by controller
//	systemd-set     sets limits, in the unit and in the cgroup
//	systemd-stop    stops the unit and removes the cgroup
//	systemd-attach  moves a process into the unit's version 2 cgroup, or one below
//	systemd-owner   → the uid that the session bus belongs to
package job

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/sirupsen/logrus"
)

// request is what a job is told. The first four members go with every one but systemd-check and
// systemd-owner, env and unit with those of systemd.
type request struct {
	Debug    bool              // log debug lines too
	Layout   string            // as host.Layout spells it
	Rootless bool              //
	Paths    map[string]string // the cgroup's directories by controller, "" for version 2; none if not yet made

	Env  []string  // to be set, to find the bus
	Unit [3]string // slice, prefix, name

	Pid          int                // systemd-apply, systemd-attach
	Sub          string             // systemd-attach: the path below the unit's cgroup
	Owner        *int               // host uid that gets the cgroup
	Properties   [][2]string        // names and values of annotations org.systemd.property.NAME
	DevicePolicy string             // "": none to be set
	DeviceAllow  [][2]string        // paths and accesses
	Resources    *cgroups.Resources // systemd-apply and systemd-set; device rules are not the library's business
}

type line struct {
	Level   string `json:"level"`
	Message string `json:"message"`
}

// envelope is what is answered.
type envelope struct {
	Log    []line `json:"log,omitempty"`
	Error  string `json:"error,omitempty"`
	Answer any    `json:"answer,omitempty"`
}

// Known reports whether name is one of the jobs.
func Known(name string) bool { return find(name) != nil }

func find(name string) func(*request) (any, error) {
	switch name {
	case "cgroup-stats":
		return stats
	case "systemd-check":
		return check
	case "systemd-apply":
		return apply
	case "systemd-set":
		return set
	case "systemd-stop":
		return stop
	case "systemd-attach":
		return attach
	case "systemd-owner":
		return owner
	}
	return nil
}

// Run does a job. What goes wrong in it is in the answer; the error is about the request.
func Run(name string, data []byte) ([]byte, error) {
	do := find(name)
	if do == nil {
		return nil, fmt.Errorf("no job %q", name)
	}
	var req request
	if err := json.Unmarshal(data, &req); err != nil {
		return nil, fmt.Errorf("%s request: %w", name, err)
	}
	for _, e := range req.Env {
		k, v, _ := strings.Cut(e, "=")
		if err := os.Setenv(k, v); err != nil {
			return nil, fmt.Errorf("%s request: env: %w", name, err)
		}
	}
	var out envelope
	logrus.SetOutput(io.Discard)
	logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	logrus.AddHook(&out)
	logrus.SetLevel(logrus.InfoLevel)
	if req.Debug {
		logrus.SetLevel(logrus.DebugLevel)
	}
	var err error
	if out.Answer, err = do(&req); err != nil {
		out.Error = err.Error()
	}
	return json.Marshal(&out)
}

// Levels makes envelope a hook of logrus.
func (e *envelope) Levels() []logrus.Level { return logrus.AllLevels }

// Fire keeps a line.
func (e *envelope) Fire(entry *logrus.Entry) error {
	msg := entry.Message
	if err, ok := entry.Data[logrus.ErrorKey]; ok {
		msg = fmt.Sprintf("%s: %v", msg, err)
	}
	e.Log = append(e.Log, line{entry.Level.String(), msg})
	return nil
}
