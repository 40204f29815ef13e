package libvserver

import (
	"github.com/vsrun/vsrun/libvserver/host"
	"github.com/vsrun/vsrun/libvserver/log"
)

// keepCgroupFlags is host.KeepCgroupFlags. The helper does the same, in case that this process is killed meanwhile; this one
// does it in case that the helper is.
func keepCgroupFlags() (giveBack func()) {
	f := host.KeepCgroupFlags()
	return func() {
		if err := f(); err != nil {
			log.Warnf("%v", err)
		}
	}
}
