package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// client is the program that is measured, in the client's container: it is there all the time, and works when it is told.
type client struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func (b *bench) client(id string, args ...string) (*client, error) {
	call := b.call(append([]string{"exec", id, "/bin/sockets", "rate"}, args...)...)
	c := &client{cmd: exec.Command(b.rt.Path, call.Args...)}
	c.cmd.Env, c.cmd.Stderr = call.Env, os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.out = bufio.NewReader(out)
	return c, c.cmd.Start()
}

// rate has it work for some time, and returns operations or bytes a second.
func (c *client) rate(ms int) (rate float64, err error) {
	if _, err = fmt.Fprintln(c.in, ms); err != nil {
		return 0, err
	}
	line, err := c.out.ReadString('\n')
	if err != nil {
		return 0, err
	}
	if _, err = fmt.Sscan(line, &rate); err != nil {
		return 0, fmt.Errorf("the client says %q", line)
	}
	return rate, nil
}

// close ends it: it has nothing more to read.
func (c *client) close() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}

// serve starts the other end, which stays until its container goes.
func (b *bench) serve(a *arm, kind, addr string) error {
	c := b.call("exec", "-d", b.id(a, "server"), "/bin/sockets", "sink", kind, addr)
	c.Stdout = filepath.Join(b.dir, a.name+kind)
	if res, err := b.rt.Run(c); err != nil || res.Code != 0 {
		return fmt.Errorf("%s: %v %s", a.name, err, res.Stderr)
	}
	var text []byte
	if !harness.Poll(5*time.Second, func() bool { text, _ = os.ReadFile(c.Stdout); return len(text) > 0 }) || !bytes.HasPrefix(text, []byte("ready")) {
		return fmt.Errorf("%s: the server did not start: %s", a.name, text)
	}
	return nil
}

// measure runs all arms in turn. Each has a port of its own from port on: some share a network namespace.
func (b *bench) measure(arms []*arm, kind string, port, rounds, ms int) error {
	clients := make([]*client, len(arms))
	for i, a := range arms {
		p := ":" + strconv.Itoa(port+i)
		addr := a.own
		if kind == "tcp" || kind == "udp" || kind == "bulk" {
			if err := b.serve(a, kind, "0.0.0.0"+p); err != nil {
				return err
			}
			addr = a.address
		}
		var err error
		if clients[i], err = b.client(b.id(a, "client"), kind, addr+p); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		defer clients[i].close()
	}
	for round := range rounds + 1 { // the first does not count
		for i := range arms {
			if round%2 != 0 {
				i = len(arms) - 1 - i
			}
			rate, err := clients[i].rate(ms)
			if err != nil {
				return fmt.Errorf("%s: %w", arms[i].name, err)
			}
			if round > 0 {
				arms[i].rates[kind] = append(arms[i].rates[kind], rate)
			}
		}
	}
	return nil
}
