package launch

import (
	"fmt"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// trace gives the machine a shared array for its times.
func (p *Program) trace(m *machine) error {
	size := len(p.code) * 2 * int(unsafe.Sizeof(unix.Timespec{}))
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	p.times = unsafe.Slice((*unix.Timespec)(unsafe.Pointer(unsafe.SliceData(mem))), len(p.code)*2)
	m.clock = uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	return nil
}

// AppendTimes prints, for a traced launch that is over, each step with the time it took (microseconds), and below it the
// instructions that took the longest part of it.
func (p *Program) AppendTimes(b []byte) []byte {
	took := func(i int) time.Duration {
		from, to := p.times[2*i], p.times[2*i+1]
		if from.Nano() == 0 || to.Nano() == 0 {
			return 0
		}
		return time.Duration(to.Nano() - from.Nano())
	}
	const telling = 20 * time.Microsecond
	for i := 0; i < len(p.code); {
		step, sum, first := p.code[i].step, time.Duration(0), i
		for ; i < len(p.code) && p.code[i].step == step; i++ {
			sum += took(i)
		}
		name := "prepare"
		if step >= 0 {
			name = p.steps[step].String()
		}
		b = fmt.Appendf(b, "%8.1f  %s\n", float64(sum.Nanoseconds())/1e3, name)
		for j := first; j < i; j++ {
			if t := took(j); t >= telling {
				b = fmt.Appendf(b, "          %8.1f  %s %s\n", float64(t.Nanoseconds())/1e3, callName(&p.code[j]), p.what[j])
			}
		}
	}
	return b
}
