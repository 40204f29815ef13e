package libvserver

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRdtStats(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"schemata":                 "    L3:0=ff;1=ff\n    MB:0=100;1=100\n",
		"info/L3/cbm_mask":         "ff\n",
		"info/L3/min_cbm_bits":     "1\n",
		"info/L3/num_closids":      "16\n",
		"info/MB/bandwidth_gran":   "10\n",
		"info/MB/delay_linear":     "1\n",
		"info/MB/min_bandwidth":    "10\n",
		"info/MB/num_closids":      "8\n",
		"info/L3_MON/mon_features": "llc_occupancy\nmbm_total_bytes\n",
		"x/schemata":               "L3:0=f;1=f\nMB:0=20;1=30\n",
		"x/mon_groups/x/mon_data/mon_L3_00/llc_occupancy":   "4096\n",
		"x/mon_groups/x/mon_data/mon_L3_00/mbm_total_bytes": "7\n",
		"x/mon_groups/x/mon_data/mon_L3_01/llc_occupancy":   "Unavailable\n",
		"x/mon_groups/x/mon_data/mon_L3_01/mbm_total_bytes": "8\n",
	} {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := rdtStats(root, root+"/x", root+"/x/mon_groups/x")
	if err != nil {
		t.Fatal(err)
	}
	want := `{"l3_cache_info":{"cbm_mask":"ff","min_cbm_bits":1,"num_closids":16},"l3_cache_schema_root":"L3:0=ff;1=ff","l3_cache_schema":"L3:0=f;1=f",` +
		`"mem_bw_info":{"bandwidth_gran":10,"delay_linear":1,"min_bandwidth":10,"num_closids":8},"mem_bw_schema_root":"MB:0=100;1=100","mem_bw_schema":"MB:0=20;1=30",` +
		`"schemata":["L3:0=f;1=f","MB:0=20;1=30"],"mbm_stats":[{"mbm_total_bytes":7,"mbm_local_bytes":0},{"mbm_total_bytes":8,"mbm_local_bytes":0}],` +
		`"cmt_stats":[{"llc_occupancy":4096},{"llc_occupancy":0}]}`
	if d := cmp.Diff(want, string(got)); d != "" {
		t.Error(d)
	}
	if _, err := rdtStats(root, root+"/gone", ""); err == nil {
		t.Error("no error without a group")
	}
}
