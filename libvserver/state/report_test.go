package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// runcState is runc's containerState.
type runcState struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	Pid         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

func reports() (list []Report, runc []runcState) {
	list = []Report{
		{
			OCIVersion: "1.3.0", ID: "web", Pid: 4711, Status: specs.StateRunning, Bundle: "/bundles/<web>", Rootfs: "/bundles/<web>/rootfs",
			Created: time.Date(2026, 1, 2, 3, 4, 5, 600700800, time.UTC), Annotations: map[string]string{"b<x>": "1&2", "a": ""}, Owner: "root",
		},
		{ID: "a-container-with-a-long-name", Status: specs.StateStopped, Bundle: "/bündel", Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)},
	}
	for _, r := range list {
		runc = append(runc, runcState{r.OCIVersion, r.ID, r.Pid, string(r.Status), r.Bundle, r.Rootfs, r.Created, r.Annotations, r.Owner})
	}
	return list, runc
}

func TestStateOutput(t *testing.T) {
	list, runc := reports()
	for i := range list {
		want, err := json.MarshalIndent(runc[i], "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(list[i].AppendState(nil))); d != "" {
			t.Error(d)
		}
	}
}

func TestListOutput(t *testing.T) {
	list, runc := reports()
	for n := 0; n <= len(list); n++ {
		var want bytes.Buffer
		var in []runcState
		if n > 0 {
			in = runc[:n]
		}
		if err := json.NewEncoder(&want).Encode(in); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.String(), string(AppendJSON(nil, list[:n]))); d != "" {
			t.Error(d)
		}

		want.Reset()
		w := tabwriter.NewWriter(&want, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\tXID\n")
		for _, r := range runc[:n] {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\t-\n", r.ID, r.Pid, r.Status, r.Bundle, r.Created.Format(time.RFC3339Nano), r.Owner)
		}
		w.Flush()
		if d := cmp.Diff(want.String(), string(AppendTable(nil, list[:n]))); d != "" {
			t.Error(d)
		}
	}
	if got := string(AppendIDs(nil, list)); got != "web\na-container-with-a-long-name\n" {
		t.Errorf("%q", got)
	}
	if got := string(AppendTable(nil, nil)); !strings.HasPrefix(got, "ID          PID         STATUS      BUNDLE      CREATED     OWNER       XID\n") {
		t.Errorf("%q", got)
	}
}

func TestSpecState(t *testing.T) {
	rec := fullRecord("web")
	for _, st := range []specs.State{
		rec.SpecState(specs.StateCreated, 12),
		{Version: "1.3.0", ID: "x", Status: specs.StateStopped, Bundle: "/b"},
		rec.SpecState(specs.StateCreating, 0),
	} {
		want, err := json.Marshal(st)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(AppendSpecState(nil, &st))); d != "" {
			t.Error(d)
		}
	}
}

func TestUserName(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\n+nis::1:::\n#old:x:1:1::/:\nbroken\n1000:x:7:7::/:\nlate:x:1000:1000::/:\nalias:x:0:0::/:"
	for uid, want := range map[uint32]string{0: "root", 1: "#1", 7: "1000", 1000: "late", 4294967295: "#4294967295"} {
		if got := userName(passwd, uid); got != want {
			t.Errorf("%d: got %s, want %s", uid, got, want)
		}
	}
}
