package log

import (
	"strconv"
	"time"

	"github.com/vsrun/vsrun/spec/wire"
)

// appendText appends a line as logrus' TextFormatter writes it to anything but
// a terminal: time="2026-01-02T15:04:05Z" level=error msg="...". Times are UTC,
// which saves reading the time zone's file.
func appendText(b []byte, t time.Time, l Level, msg string) []byte {
	b = append(b, `time="`...)
	b = t.UTC().AppendFormat(b, time.RFC3339)
	b = append(b, `" level=`...)
	b = append(b, l.String()...)
	b = append(b, ` msg=`...)
	if needsQuoting(msg) {
		b = strconv.AppendQuote(b, msg)
	} else {
		b = append(b, msg...)
	}
	return append(b, '\n')
}

// appendTerminal appends a line as logrus writes it to a terminal, less the
// colours and the seconds since the start: ERRO[0000] message.
func appendTerminal(b []byte, l Level, msg string) []byte {
	tag := "DEBU"
	switch l {
	case LevelError:
		tag = "ERRO"
	case LevelWarn:
		tag = "WARN"
	case LevelInfo:
		tag = "INFO"
	}
	b = append(b, tag...)
	b = append(b, "[0000] "...)
	b = append(b, msg...)
	return append(b, '\n')
}

// appendJSON appends a line as logrus' JSONFormatter writes it:
// {"level":"error","msg":"...","time":"2026-01-02T15:04:05Z"}.
func appendJSON(b []byte, t time.Time, l Level, msg string) []byte {
	b = append(b, `{"level":"`...)
	b = append(b, l.String()...)
	b = append(b, `","msg":`...)
	b = wire.AppendString(b, msg)
	b = append(b, `,"time":"`...)
	b = t.UTC().AppendFormat(b, time.RFC3339)
	return append(b, "\"}\n"...)
}

// needsQuoting is logrus' rule for which values stand bare.
func needsQuoting(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' {
			continue
		}
		switch c {
		case '-', '.', '_', '/', '@', '^', '+':
			continue
		}
		return true
	}
	return false
}
