package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vsrun/vsrun/tests/harness"
)

// bootLimit is how long the guest may take until it runs its command; a busy host under emulation needs a minute.
const bootLimit = 5 * time.Minute

// errEmulator: an emulator of two processors lets one of them meet an instruction that the other is just changing (the
// kernel's static keys). The kernel then panics with an int3 that nobody has set.
var errEmulator = errors.New("the emulator has shown the kernel half of a change of its code")

// machine is one boot.
type machine struct {
	img  image
	root string
	options
	shell            bool
	conformance, cri bool // what /work needs besides
	reboots          bool // the guest may reboot: it then runs /work/command again
}

// boot runs the command and returns its exit code. Output goes to standard output and, if given, to also.
func (m *machine) boot(ctx context.Context, command string, also io.Writer) (int, error) {
	dir, err := os.MkdirTemp(filepath.Dir(m.img.dir), "run-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	if m.out == "" {
		m.out = filepath.Join(dir, "out")
	}
	if m.out, err = filepath.Abs(m.out); err != nil {
		return 1, err
	}
	if err := os.MkdirAll(m.out, 0o755); err != nil {
		return 1, err
	}
	for _, name := range []string{"status", "up"} {
		if err := os.Remove(filepath.Join(m.out, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 1, err
		}
	}
	disk, err := m.workDisk(ctx, dir, command)
	if err != nil {
		return 1, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.limit, fmt.Errorf("the machine was still running after %v", m.limit))
	defer cancel()
	return m.qemu(ctx, dir, disk, also)
}

func (m *machine) qemu(ctx context.Context, dir, disk string, also io.Writer) (int, error) {
	console := filepath.Join(dir, "console.log")
	args := m.devices(ctx, console, disk, ",snapshot=on")
	line := kernelLine + m.append
	if m.shell {
		line += " vm.shell"
	}
	// Where nothing is asked of the kernel, the machine goes on from its saved state.
	accel, _ := accelerator(ctx, m.img)
	if warm := m.img.path("state-" + accel); !m.shell && m.append == "" && m.memory == defaultMemory && m.cpus == defaultCPUs && harness.Exists(warm) {
		args = append(args, "-incoming", "exec:cat <"+warm)
	}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", append(args, "-append", line)...)
	read, write, err := os.Pipe()
	if err != nil {
		return 1, err
	}
	cmd.ExtraFiles = []*os.File{write} // devices has the names of this and of the console
	done := make(chan struct{})
	go func() {
		out := io.Writer(os.Stdout)
		if also != nil {
			out = io.MultiWriter(out, also)
		}
		_, _ = io.Copy(out, read)
		close(done)
	}()
	defer func() { write.Close(); <-done; read.Close() }()
	if m.shell {
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		fmt.Fprintln(os.Stderr, "vm: booting; exit ends the machine")
	}
	var errs bytes.Buffer
	cmd.Stderr = &errs
	cmd.Env = append(os.Environ(), "TMPDIR="+dir) // of the copy-on-write
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = 5 * time.Second
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("%w: apt-get install qemu-system-x86", err)
	}
	go func() {
		if !waitFor(ctx, bootLimit, func() bool { return harness.Exists(filepath.Join(m.out, "up")) }) && ctx.Err() == nil {
			cancel(fmt.Errorf("the machine did not come up in %v", bootLimit))
			_ = cmd.Process.Kill()
		}
	}()
	err = cmd.Wait()
	status, readErr := os.ReadFile(filepath.Join(m.out, "status"))
	if readErr == nil {
		code, err := strconv.Atoi(strings.TrimSpace(string(status)))
		if err == nil {
			return code, nil
		}
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	} else if err == nil {
		err = errors.New("the machine stopped before its command had ended")
	}
	if text := tail(console, 200); accel == "tcg" && strings.Contains(text, "Oops: int3") && strings.Contains(text, "Kernel panic") {
		err = fmt.Errorf("%w: %w", errEmulator, err)
	}
	return 124, fmt.Errorf("%w; qemu: %s; the end of its console:\n%s", err, strings.TrimSpace(errs.String()), tail(console, 40))
}

// What the state was saved with.
const (
	defaultMemory = 4096
	defaultCPUs   = 2
	kernelLine    = "console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 mitigations=off nokaslr audit=0 no_timer_check tsc=reliable " +
		"random.trust_cpu=on security=apparmor systemd.show_status=0 systemd.log_target=journal "
)

// devices is the machine: the same for the one that saves its state and those that go on from it.
func (m *machine) devices(ctx context.Context, console, work, snapshot string) []string {
	shell := "null,id=shell"
	if m.shell {
		shell = "stdio,id=shell,signal=off"
	}
	args := []string{"-nodefaults", "-no-user-config", "-display", "none", "-rtc", "base=utc",
		"-m", strconv.Itoa(m.memory), "-smp", strconv.Itoa(m.cpus), "-kernel", m.img.path("vmlinuz"), "-initrd", m.img.path("initrd"),
		"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console",
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "file,id=output,path=/dev/fd/3", "-device", "virtserialport,chardev=output,name=output",
		"-chardev", shell, "-device", "virtconsole,chardev=shell",
		"-virtfs", "local,path=" + m.out + ",mount_tag=out,security_model=none"}
	if !m.reboots { // a kernel that panics ends the machine
		args = append(args, "-no-reboot")
	}
	_, flags := accelerator(ctx, m.img)
	args = append(args, flags...)
	drive := func(path, more string) {
		args = append(args, "-drive", "if=virtio,format=raw,cache=unsafe,aio=threads,file="+path+more)
	}
	drive(m.img.path("root.img"), snapshot)
	drive(work, "")
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		drive(m.img.path(fs+".img"), snapshot)
	}
	return args
}

// saveState boots the new image once, on the disks themselves, up to where the guest waits for its work, and saves the
// machine there: every run goes on from it, which is much faster than to boot.
func saveState(ctx context.Context, img image) error {
	m := machine{img: img, options: options{memory: defaultMemory, cpus: defaultCPUs, out: img.dir}}
	console, blank := img.path("console.log"), img.path("blank.img")
	if err := os.WriteFile(blank, nil, 0o644); err != nil {
		return err
	}
	defer os.Remove(blank)
	if err := os.Truncate(blank, workSize); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*bootLimit)
	defer cancel()
	args := append(m.devices(ctx, console, blank, ""), "-monitor", "stdio", "-append", kernelLine+"vm.save")
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", args...)
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	cmd.ExtraFiles = []*os.File{null}
	monitor, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w: apt-get install qemu-system-x86", err)
	}
	ready := waitFor(ctx, bootLimit, func() bool { return strings.Contains(tail(console, 20), "vm-ready") })
	ready = ready && !strings.Contains(tail(console, 60), "vm-broken")
	if ready {
		fmt.Fprintf(monitor, "migrate_set_parameter max-bandwidth 8G\nmigrate \"exec:cat >%s\"\nquit\n", img.path("state.new"))
	} else {
		_ = cmd.Process.Kill()
	}
	err = cmd.Wait()
	if !ready {
		return fmt.Errorf("the new machine did not come up whole in %v; qemu: %s; the end of its console:\n%s", bootLimit, out.String(), tail(console, 40))
	}
	if info, statErr := os.Stat(img.path("state.new")); err != nil || statErr != nil || info.Size() == 0 {
		return fmt.Errorf("the machine's state can't be saved: %w: %s", errors.Join(err, statErr), out.String())
	}
	accel, _ := accelerator(ctx, img)
	return os.Rename(img.path("state.new"), img.path("state-"+accel))
}

// waitFor polls until f is true; false if that takes too long or the context ends.
func waitFor(ctx context.Context, limit time.Duration, f func() bool) bool {
	deadline := time.After(limit)
	for !f() {
		select {
		case <-ctx.Done():
			return false
		case <-deadline:
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
	return true
}

// accelerator returns qemu's way to run a guest: KVM if a guest runs under it, which /dev/kvm alone doesn't say, else emulation with a
// thread for each processor. The answer is kept until the host boots again.
func accelerator(ctx context.Context, img image) (name string, flags []string) {
	kvm := []string{"-accel", "kvm", "-cpu", "host"}
	tcg := []string{"-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return "tcg", tcg
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	note := img.path("kvm")
	if known, err := os.ReadFile(note); err == nil {
		if id, ok := strings.CutPrefix(string(known), "yes "); ok && id == string(boot) {
			return "kvm", kvm
		}
		if id, ok := strings.CutPrefix(string(known), "no "); ok && id == string(boot) {
			return "tcg", tcg
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args := append([]string{"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "256", "-serial", "stdio",
		"-kernel", img.path("vmlinuz"), "-initrd", img.path("initrd"), "-append", "console=ttyS0 quiet panic=-1 vm.probe"}, kvm...)
	out, _ := exec.CommandContext(ctx, "qemu-system-x86_64", args...).Output()
	if strings.Contains(string(out), "vm-probe-ok") {
		_ = os.WriteFile(note, []byte("yes "+string(boot)), 0o644)
		return "kvm", kvm
	}
	_ = os.WriteFile(note, []byte("no "+string(boot)), 0o644)
	return "tcg", tcg
}
