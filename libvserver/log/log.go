// Package log writes the runtime's log: a few lines to stderr or to the file
// given by --log, as text or as JSON, in the shape logrus gives them, which is
// what engines parse.
//
// It is a leaf: it imports nothing of this project but spec/wire and does no
// work until [Setup] or the first line. It must not import logrus; where a library logs
// through logrus, the program that links it passes those lines to [Line].
//
// Two readers fix what may be in the file. containerd's shim takes the last
// line of level "error". Podman decodes the whole file as one JSON object, so
// warnings must not stand beside the error; nor may they go to stderr while a
// container may still be started, since the runtime's stderr is the
// container's. Therefore warnings for a JSON file are held back until it is
// known how the command ends: [Flush] appends them to the file, [Final] sends
// them to stderr and leaves the file to the error alone. With --debug nothing
// is held back.
package log

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Level is the severity of a line.
type Level uint8

// The levels, most severe first.
const (
	LevelError Level = iota
	LevelWarn
	LevelInfo
	LevelDebug
)

// String returns the level as logrus spells it.
func (l Level) String() string {
	switch l {
	case LevelError:
		return "error"
	case LevelWarn:
		return "warning"
	case LevelInfo:
		return "info"
	default:
		return "debug"
	}
}

// Options are the global flags that concern the log.
type Options struct {
	File   string // --log: path to append to; empty means stderr
	Format string // --log-format: "text", "json", or empty for text
	Debug  bool   // --debug: debug lines too, and nothing held back
}

// logger is the state behind the package's functions. Its zero value writes
// text of level info and above to stderr.
type logger struct {
	mu    sync.Mutex
	file  *os.File // nil: stderr
	json  bool
	debug bool
	held  []byte // finished lines of warnings; see the package comment
}

var std logger

// Setup applies the global flags. It opens (and creates, mode 0644) the file,
// so that a path that cannot be written is an error of the command line, as it
// is in runc. It is to be called once, before other goroutines log.
func Setup(o Options) error { return std.setup(o) }

// Enabled reports whether lines of level l are written at all.
func Enabled(l Level) bool { return l < LevelDebug || std.debug }

// Line writes one line of level l. It is also where lines of other loggers
// (logrus in libraries) enter.
func Line(l Level, msg string) {
	if Enabled(l) {
		std.line(l, msg)
	}
}

// Debugf writes a line that is seen only with --debug.
func Debugf(format string, args ...any) {
	if std.debug {
		std.line(LevelDebug, fmt.Sprintf(format, args...))
	}
}

// Infof writes a line of level info.
func Infof(format string, args ...any) { std.line(LevelInfo, fmt.Sprintf(format, args...)) }

// Warnf writes a warning: something went wrong and the command goes on.
func Warnf(format string, args ...any) { std.line(LevelWarn, fmt.Sprintf(format, args...)) }

// Final writes the error a command ends with: to the log, and, if the log is a
// file, to stderr as a plain line besides, since engines read either. The exit
// code is the caller's.
func Final(err error) { std.final(err) }

// Flush appends held-back warnings to the log file. It is to be called when a
// command has succeeded, and by a command that stays in the foreground, as soon
// as the container runs.
func Flush() { std.flush() }

func (g *logger) setup(o Options) error {
	switch o.Format {
	case "", "text":
		g.json = false
	case "json":
		g.json = true
	default:
		return errors.New("invalid log-format: " + o.Format)
	}
	g.debug = o.Debug
	if o.File == "" {
		return nil
	}
	f, err := os.OpenFile(o.File, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644) // O_CLOEXEC is implied
	if err != nil {
		return fmt.Errorf("--log: %w", err)
	}
	g.file = f
	return nil
}

func (g *logger) line(l Level, msg string) {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.holds() && l != LevelError {
		g.held = appendJSON(g.held, now, l, msg)
		return
	}
	g.write(now, l, msg)
}

// holds reports whether lines below an error are kept from the file for now.
func (g *logger) holds() bool { return g.file != nil && g.json && !g.debug }

func (g *logger) final(err error) {
	msg, now := err.Error(), time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.held) > 0 {
		_, _ = os.Stderr.Write(g.held)
		g.held = nil
	}
	g.write(now, LevelError, msg)
	if g.file != nil {
		_, _ = os.Stderr.WriteString(msg + "\n")
	}
}

func (g *logger) flush() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.held) > 0 {
		_, _ = g.file.Write(g.held)
		g.held = nil
	}
}

// write writes a line in one write(2), so that lines of processes that share
// the file do not mix. An error has nowhere to be told and is dropped.
func (g *logger) write(now time.Time, l Level, msg string) {
	out := g.file
	if out == nil {
		out = os.Stderr
	}
	buf := make([]byte, 0, 64+len(msg)+len(msg)/8)
	switch {
	case g.json:
		buf = appendJSON(buf, now, l, msg)
	case g.file == nil && isTerminal(2):
		buf = appendTerminal(buf, l, msg)
	default:
		buf = appendText(buf, now, l, msg)
	}
	_, _ = out.Write(buf)
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}
