package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/net/websocket"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// The channels of a stream: the first byte of each message.
const (
	streamStdin  = 0
	streamStdout = 1
	streamStderr = 2
	streamEnd    = 3 // a Status of Kubernetes, in JSON
	streamResize = 4
)

// talk is kubectl's part in exec -i and attach: it sends messages (the first byte is the channel), and returns what came on each channel
// until the server had no more to say, or until has stood in its output.
func talk(ctx context.Context, url, until string, messages ...string) (got [5]string, err error) {
	config, err := websocket.NewConfig("ws"+strings.TrimPrefix(url, "http"), "http://localhost/")
	if err != nil {
		return got, err
	}
	config.Protocol = []string{"v4.channel.k8s.io"}
	ws, err := config.DialContext(ctx)
	if err != nil {
		return got, err
	}
	defer ws.Close()
	if err := ws.SetDeadline(time.Now().Add(time.Duration(20**patience) * time.Second)); err != nil {
		return got, err
	}
	for _, m := range messages {
		if err := websocket.Message.Send(ws, []byte(m)); err != nil {
			return got, err
		}
	}
	for {
		var m []byte
		if err := websocket.Message.Receive(ws, &m); err != nil {
			if got[streamEnd] != "" {
				err = nil
			}
			return got, err
		}
		if len(m) > 0 && int(m[0]) < len(got) {
			got[m[0]] += string(m[1:])
		}
		if got[streamEnd] != "" || until != "" && strings.Contains(got[streamStdout], until) {
			return got, nil
		}
	}
}

// streams has programs and a container talked to: what kubectl exec -it and kubectl attach ask for.
func (c *client) streams(name, pod string, config *cri.PodSandboxConfig, ns *cri.NamespaceOption) {
	var id string
	if !c.step(name+"/a container with standard input", func() (err error) {
		edit := func(cc *cri.ContainerConfig) { cc.Stdin = true }
		if id, err = c.createWith(edit, pod, config, "streams", ns, "sh", "-c", "while read -r l; do echo got $l; done"); err != nil {
			return err
		}
		_, err = c.rt.StartContainer(c.ctx, &cri.StartContainerRequest{ContainerId: id})
		return err
	}) {
		return
	}
	execs := []struct {
		name, script string
		tty          bool
		messages     []string
		want         [5]string // a part of each
	}{
		{"exec with standard input", "read -r l; echo got $l; echo bad >&2; exit 6", false, []string{"\x00line\n"},
			[5]string{streamStdout: "got line\n", streamStderr: "bad\n", streamEnd: `"message":"6"`}},
		{"exec on a terminal", "read -r l; until stty size 2>/dev/null | grep '31 91'; do sleep 0.1; done; tty; exit 7", true, []string{"\x04{\"Width\":91,\"Height\":31}", "\x00line\n"},
			[5]string{streamStdout: "31 91\r\n/dev/pts/", streamEnd: `"message":"7"`}},
	}
	for _, e := range execs {
		c.step(name+"/"+e.name, func() error {
			r, err := c.rt.Exec(c.ctx, &cri.ExecRequest{ContainerId: id, Cmd: []string{"sh", "-c", e.script}, Tty: e.tty, Stdin: true, Stdout: true, Stderr: !e.tty})
			if err != nil {
				return err
			}
			got, err := talk(c.ctx, r.Url, "", e.messages...)
			for i := range got {
				if err == nil && !strings.Contains(got[i], e.want[i]) {
					err = fmt.Errorf("no %q on channel %d in %q", e.want[i], i, got)
				}
			}
			return err
		})
	}
	attach := func(line string) error {
		r, err := c.rt.Attach(c.ctx, &cri.AttachRequest{ContainerId: id, Stdin: true, Stdout: true})
		if err != nil {
			return err
		}
		_, err = talk(c.ctx, r.Url, "got "+line+"\n", "\x00"+line+"\n")
		return err
	}
	c.step(name+"/attach", func() error { return attach("one") })
	// The log is rotated: what comes from then on is in a new file.
	c.step(name+"/log rotated", func() error {
		file := filepath.Join(*logs, name+".streams.log")
		if err := os.Rename(file, file+".1"); err != nil {
			return err
		}
		if _, err := c.rt.ReopenContainerLog(c.ctx, &cri.ReopenContainerLogRequest{ContainerId: id}); err != nil {
			return err
		}
		if err := attach("two"); err != nil {
			return err
		}
		was, err := os.ReadFile(file + ".1")
		if err != nil {
			return err
		}
		for range 100 * *patience {
			is, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			if strings.HasSuffix(string(is), " stdout F got two\n") && strings.HasSuffix(string(was), " stdout F got one\n") {
				return nil
			}
			time.Sleep(50 * time.Millisecond)
		}
		return errors.New("the new line is not in the new file alone")
	})
	if c.since17(name + "/stats of the pod") {
		c.step(name+"/stats of the pod", func() error {
			r, err := c.rt.PodSandboxStats(c.ctx, &cri.PodSandboxStatsRequest{PodSandboxId: pod})
			l := r.GetStats().GetLinux()
			if err == nil && (l.GetMemory().GetWorkingSetBytes().GetValue() == 0 || l.GetProcess().GetProcessCount().GetValue() == 0 || len(l.GetContainers()) == 0) {
				err = fmt.Errorf("something is missing in %v", r.GetStats())
			}
			return err
		})
	}
	c.step(name+"/killed", func() error {
		if _, err := c.rt.StopContainer(c.ctx, &cri.StopContainerRequest{ContainerId: id}); err != nil {
			return err
		}
		if err := c.state(id, cri.ContainerState_CONTAINER_EXITED, 137); err != nil {
			return err
		}
		_, err := c.rt.RemoveContainer(c.ctx, &cri.RemoveContainerRequest{ContainerId: id})
		return err
	})
}
