package job

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/checkpoint-restore/go-criu/v8/rpc"
	"github.com/checkpoint-restore/go-criu/v8/stats"

	"github.com/vsrun/vsrun/libvserver/criu/proto"
)

func marshal(t *testing.T, o *proto.Options) []byte {
	t.Helper()
	req, err := request(&proto.Request{Kind: proto.Dump, Options: *o})
	if err != nil {
		t.Fatal(err)
	}
	b, err := req.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEveryOption: each option that vsrun can name changes what CRIU is told.
func TestEveryOption(t *testing.T) {
	base := proto.Options{WorkDirFD: -1, StatusFD: -1}
	none := marshal(t, &base)
	for i := range reflect.TypeFor[proto.Options]().NumField() {
		name := reflect.TypeFor[proto.Options]().Field(i).Name
		o := base
		switch p := reflect.ValueOf(&o).Elem().Field(i).Addr().Interface().(type) {
		case *string:
			switch *p = "x"; name {
			case "CgroupsMode":
				*p = "soft"
			case "NetworkLock":
				*p = "skip"
			}
		case *int:
			if *p = 7; name == "PageServerPort" {
				o.PageServer = "host"
				continue // goes with the address
			}
		case *uint64:
			*p = 7
		case *bool:
			*p = true
		case *[]string:
			*p = []string{"x"}
		case *[]proto.Pair:
			*p = []proto.Pair{{Key: "k", Val: "v"}}
		case *[]proto.InheritFD:
			*p = []proto.InheritFD{{Key: "k", FD: 1}}
		default:
			t.Errorf("%s is of type %T, which this test does not know", name, p)
		}
		if bytes.Equal(marshal(t, &o), none) {
			t.Errorf("%s does not reach CRIU", name)
		}
	}
	req, err := request(&proto.Request{Kind: proto.Dump, Options: proto.Options{PageServer: "host", PageServerPort: 9}})
	if err != nil || req.GetOpts().GetPs().GetAddress() != "host" || req.GetOpts().GetPs().GetPort() != 9 {
		t.Errorf("page server: %v, %v", req.GetOpts().GetPs(), err)
	}
}

func TestModes(t *testing.T) {
	for name, want := range map[string]rpc.CriuCgMode{"": rpc.CriuCgMode_DEFAULT, "full": rpc.CriuCgMode_FULL, "ignore": rpc.CriuCgMode_IGNORE} {
		o, err := options(&proto.Options{CgroupsMode: name})
		if err != nil || o.GetManageCgroupsMode() != want || !o.GetManageCgroups() {
			t.Errorf("%q: %v, %v", name, o.GetManageCgroupsMode(), err)
		}
	}
	for _, q := range []proto.Request{
		{Kind: "x"}, {Kind: proto.Features, Features: []string{"x"}},
		{Kind: proto.Dump, Options: proto.Options{CgroupsMode: "x"}}, {Kind: proto.Restore, Options: proto.Options{NetworkLock: "x"}},
	} {
		if _, err := request(&q); err == nil {
			t.Errorf("%+v passed", q)
		}
	}
}

func TestDumpStats(t *testing.T) {
	dir := t.TempDir()
	if s := dumpStats(dir); s != (proto.Stats{}) {
		t.Errorf("no file: %+v", s)
	}
	entry := &stats.StatsEntry{Dump: &stats.DumpStatsEntry{
		PagesScanned: ptr(uint64(10)), PagesSkippedParent: ptr(uint64(3)), PagesWritten: ptr(uint64(7)), FrozenTime: ptr(uint32(1000)),
		FreezingTime: ptr(uint32(1)), MemdumpTime: ptr(uint32(1)), MemwriteTime: ptr(uint32(1)), PagesLazy: ptr(uint64(0)),
	}}
	b, err := entry.MarshalVT()
	if err != nil {
		t.Fatal(err)
	}
	file := make([]byte, stats.PayloadOffset)
	binary.LittleEndian.PutUint32(file[stats.PrimaryMagicOffset:], stats.ImgServiceMagic)
	binary.LittleEndian.PutUint32(file[stats.SecondaryMagicOffset:], stats.StatsMagic)
	binary.LittleEndian.PutUint32(file[stats.SizeOffset:], uint32(len(b)))
	file = append(file, b...)
	name := filepath.Join(dir, stats.StatsDump)
	if err := os.WriteFile(name, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, want := dumpStats(dir), (proto.Stats{PagesScanned: 10, PagesSkipped: 3, PagesWritten: 7, FrozenTime: 1000}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, n := range []int{0, 3, 11} { // cut short
		if err := os.WriteFile(name, file[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if s := dumpStats(dir); s != (proto.Stats{}) {
			t.Errorf("%d bytes: %+v", n, s)
		}
	}
}
