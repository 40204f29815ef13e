package cgroup

import (
	"os"
	"strconv"
	"strings"

	"github.com/vsrun/vsrun/libvserver/log"
	"github.com/vsrun/vsrun/spec/wire"
	"golang.org/x/sys/unix"
)

// RootsSystemd reports whether root of a user namespace, who the caller must be, has root's systemd there, as in a system
// container, and not the user manager of whoever has made the namespace, as under Podman without root. As in runc that is
// so unless the session bus says that it belongs to another user. It may start a process (see runJob), but not where the
// bus has the usual path of a user's.
func RootsSystemd() bool {
	address := os.Getenv("DBUS_SESSION_BUS_ADDRESS")
	if dir := os.Getenv("XDG_RUNTIME_DIR"); address == "" && dir != "" && unix.Access(dir+"/bus", unix.F_OK) == nil {
		address = "unix:path=" + dir + "/bus"
	}
	if address == "" {
		return true
	}
	if rest, ok := strings.CutPrefix(address, "unix:path=/run/user/"); ok {
		uid, _, _ := strings.Cut(rest, "/")
		if n, err := strconv.ParseUint(uid, 10, 32); err == nil && n != 0 {
			return false
		}
	}
	w := wire.NewWriter(nil, "")
	w.BeginObject()
	encodeEnv(w)
	w.EndObject()
	uid, err := runJob("systemd-owner", w.Bytes())
	if err != nil {
		log.Debugf("whose systemd this is could not be found out, so it is taken for root's: %v", err)
		return true
	}
	return string(uid) == "0"
}
