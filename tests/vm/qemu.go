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
)

// bootLimit is how long the guest may take until it runs its command; a busy host under emulation needs a minute.
const bootLimit = 5 * time.Minute

// machine is one boot.
type machine struct {
	img  image
	root string
	options
	shell            bool
	conformance, cri bool // what /work needs besides
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
	args := []string{"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none",
		"-m", strconv.Itoa(m.memory), "-smp", strconv.Itoa(m.cpus), "-kernel", m.img.path("vmlinuz"), "-initrd", m.img.path("initrd"),
		"-chardev", "file,id=console,path=" + console, "-serial", "chardev:console",
		"-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-virtfs", "local,path=" + m.out + ",mount_tag=out,security_model=none"}
	args = append(args, accelerator(ctx, m.img)...)
	drive := func(path, more string) {
		args = append(args, "-drive", "if=virtio,format=raw,cache=unsafe,aio=threads,file="+path+more)
	}
	drive(m.img.path("root.img"), ",snapshot=on")
	drive(disk, "")
	for _, fs := range []string{"ext4", "xfs", "btrfs"} {
		drive(m.img.path(fs+".img"), ",snapshot=on")
	}
	line := "console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 mitigations=off nokaslr audit=0 no_timer_check tsc=reliable random.trust_cpu=on " +
		"security=apparmor systemd.show_status=0 systemd.log_target=journal " + m.append
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64")
	if m.shell {
		line += " vm.shell"
		args = append(args, "-chardev", "stdio,id=shell,signal=off", "-device", "virtconsole,chardev=shell")
		cmd.Stdin, cmd.Stdout = os.Stdin, os.Stdout
		fmt.Fprintln(os.Stderr, "vm: booting; exit ends the machine")
	} else {
		args = append(args, "-chardev", "file,id=output,path=/dev/fd/3", "-device", "virtserialport,chardev=output,name=output")
		out := io.Writer(os.Stdout)
		if also != nil {
			out = io.MultiWriter(out, also)
		}
		read, write, err := os.Pipe()
		if err != nil {
			return 1, err
		}
		cmd.ExtraFiles = []*os.File{write}
		done := make(chan struct{})
		go func() { _, _ = io.Copy(out, read); close(done) }()
		defer func() { write.Close(); <-done; read.Close() }()
	}
	cmd.Args = append(append(cmd.Args, args...), "-append", line)
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
		if !m.comesUp(ctx) && ctx.Err() == nil {
			cancel(fmt.Errorf("the machine did not come up in %v", bootLimit))
			_ = cmd.Process.Kill()
		}
	}()
	err := cmd.Wait()
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
	return 124, fmt.Errorf("%w; qemu: %s; the end of its console:\n%s", err, strings.TrimSpace(errs.String()), tail(console, 40))
}

// comesUp waits for the guest's word that it runs the command.
func (m *machine) comesUp(ctx context.Context) bool {
	deadline := time.After(bootLimit)
	for {
		if _, err := os.Stat(filepath.Join(m.out, "up")); err == nil {
			return true
		}
		select {
		case <-ctx.Done():
			return true
		case <-deadline:
			return false
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// accelerator returns qemu's flags: KVM if a guest runs under it, which /dev/kvm alone doesn't say, else emulation with a
// thread for each processor. The answer is kept until the host boots again.
func accelerator(ctx context.Context, img image) []string {
	kvm := []string{"-accel", "kvm", "-cpu", "host"}
	tcg := []string{"-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"}
	if _, err := os.Stat("/dev/kvm"); err != nil {
		return tcg
	}
	boot, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	note := img.path("kvm")
	if known, err := os.ReadFile(note); err == nil {
		if id, ok := strings.CutPrefix(string(known), "yes "); ok && id == string(boot) {
			return kvm
		}
		if id, ok := strings.CutPrefix(string(known), "no "); ok && id == string(boot) {
			return tcg
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	args := append([]string{"-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "256", "-serial", "stdio",
		"-kernel", img.path("vmlinuz"), "-initrd", img.path("initrd"), "-append", "console=ttyS0 quiet panic=-1 vm.probe"}, kvm...)
	out, _ := exec.CommandContext(ctx, "qemu-system-x86_64", args...).Output()
	if strings.Contains(string(out), "vm-probe-ok") {
		_ = os.WriteFile(note, []byte("yes "+string(boot)), 0o644)
		return kvm
	}
	_ = os.WriteFile(note, []byte("no "+string(boot)), 0o644)
	return tcg
}
