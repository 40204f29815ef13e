#include "textflag.h"

// The entry point of the executable (linked with -E). It may touch nothing but its own stack frame below the one that the
// kernel has laid out, and goes on to the Go runtime's entry point with the stack as it was found.
//
//	if one of argv[1:] is run, create, exec or restore
//	and /proc/self/exe may be written and is not fs-verity's:
//		fd = open_tree("/proc/self/exe", CLONE); mount_setattr(fd, RDONLY)
//		file = open("/proc/self/fd/<fd>"); mmap the segments from file; prctl(PR_SET_MM_MAP, exe_fd = file)
//		or, if that fails, execveat(fd)
//
// After that /proc/self/exe is on a read-only mount, so this runs once. Every failure goes on: guard.Ensure looks again.
// The words that it looks for may also be arguments of other commands: then it was for nothing, no more.

#define SYS_EXECVEAT 322
#define SYS_STATX 332
#define SYS_CLOSE 3
#define SYS_MMAP 9
#define SYS_BRK 12
#define SYS_PRCTL 157
#define SYS_OPENAT 257
#define SYS_PRLIMIT64 302
#define SYS_OPEN_TREE 428
#define SYS_FACCESSAT2 439
#define SYS_MOUNT_SETATTR 442
#define RLIMIT_NOFILE 7
#define AT_FDCWD -100
#define AT_EMPTY_PATH 0x1000
#define AT_EACCESS 0x200
#define W_OK 2
#define OPEN_TREE_CLONE_CLOEXEC 0x80001
#define MOUNT_ATTR_RDONLY 1
#define STATX_ATTR_VERITY 0x100000
#define O_RDONLY_CLOEXEC 0x80000
#define MAP_PRIVATE_FIXED 0x12
#define PT_LOAD 1
#define AT_PHDR 3
#define AT_PHNUM 5
#define PR_SET_MM 35
#define PR_SET_MM_MAP 14

TEXT ·entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVQ	SP, R12
	MOVQ	0(R12), R13          // argc
	LEAQ	16(R12), R14         // &argv[1]
	CMPQ	R13, $2
	JLT	go
next:
	MOVQ	0(R14), AX
	TESTQ	AX, AX
	JZ	go
	CMPB	0(AX), $'r'
	JEQ	r
	CMPB	0(AX), $'c'
	JEQ	c
	CMPB	0(AX), $'e'
	JEQ	e
again:
	ADDQ	$8, R14
	JMP	next
r:
	CMPB	1(AX), $'u'
	JNE	restore
	CMPW	2(AX), $'n'          // "n\0"
	JEQ	found
	JMP	again
restore:
	CMPB	1(AX), $'e'
	JNE	again
	CMPB	2(AX), $'s'
	JNE	again
	CMPB	3(AX), $'t'
	JNE	again
	CMPB	4(AX), $'o'
	JNE	again
	CMPB	5(AX), $'r'
	JNE	again
	CMPW	6(AX), $'e'
	JEQ	found
	JMP	again
c:
	CMPB	1(AX), $'r'
	JNE	again
	CMPB	2(AX), $'e'
	JNE	again
	CMPB	3(AX), $'a'
	JNE	again
	CMPB	4(AX), $'t'
	JNE	again
	CMPW	5(AX), $'e'
	JEQ	found
	JMP	again
e:
	CMPB	1(AX), $'x'
	JNE	again
	CMPB	2(AX), $'e'
	JNE	again
	CMPW	3(AX), $'c'
	JNE	again
found:
	SUBQ	$512, SP
	MOVQ	$AT_FDCWD, DI
	LEAQ	·exePath(SB), SI
	MOVQ	$W_OK, DX
	MOVQ	$AT_EACCESS, R10
	MOVQ	$SYS_FACCESSAT2, AX
	SYSCALL
	TESTQ	AX, AX
	JNZ	go

	MOVQ	$AT_FDCWD, DI        // statx: the buffer is at SP+64
	LEAQ	·exePath(SB), SI
	XORL	DX, DX
	XORL	R10, R10
	LEAQ	64(SP), R8
	MOVQ	$SYS_STATX, AX
	SYSCALL
	TESTQ	AX, AX
	JNZ	go
	TESTL	$STATX_ATTR_VERITY, 72(SP) // stx_attributes
	JNZ	go

	MOVQ	$AT_FDCWD, DI
	LEAQ	·exePath(SB), SI
	MOVQ	$OPEN_TREE_CLONE_CLOEXEC, DX
	MOVQ	$SYS_OPEN_TREE, AX
	SYSCALL
	TESTQ	AX, AX
	JLT	go
	MOVQ	AX, R15

	MOVQ	$MOUNT_ATTR_RDONLY, 0(SP) // struct mount_attr: attr_set, attr_clr, propagation, userns_fd
	MOVQ	$0, 8(SP)
	MOVQ	$0, 16(SP)
	MOVQ	$0, 24(SP)
	MOVQ	R15, DI
	LEAQ	·emptyPath(SB), SI
	MOVQ	$AT_EMPTY_PATH, DX
	MOVQ	SP, R10
	MOVQ	$32, R8
	MOVQ	$SYS_MOUNT_SETATTR, AX
	SYSCALL
	TESTQ	AX, AX
	JNZ	close

	// Now the process moves over to that mount: its memory is mapped again from there, segment by segment and with the same
	// content, and then the kernel lets it change what /proc/self/exe is (prctl(2), PR_SET_MM_MAP; it needs
	// CONFIG_CHECKPOINT_RESTORE and CAP_SYS_ADMIN or CAP_CHECKPOINT_RESTORE). Where it does not, it is executed again.
	MOVQ	R15, AX              // "/proc/self/fd/" and the number, at SP+336; its digits are made from the end
	LEAQ	383(SP), DI
	MOVB	$0, 0(DI)
	MOVL	$10, CX
digit:
	XORL	DX, DX
	DIVQ	CX
	ADDB	$'0', DX
	DECQ	DI
	MOVB	DX, 0(DI)
	TESTQ	AX, AX
	JNZ	digit
	MOVQ	·fdPath+6(SB), AX    // "elf/fd/" with the slash before the number last
	MOVQ	AX, -8(DI)
	MOVQ	·fdPath+0(SB), AX    // "/proc/self"
	MOVQ	AX, -14(DI)
	LEAQ	-14(DI), SI
	MOVQ	$AT_FDCWD, DI
	MOVQ	$O_RDONLY_CLOEXEC, DX
	XORL	R10, R10
	MOVQ	$SYS_OPENAT, AX
	SYSCALL
	TESTQ	AX, AX
	JLT	again2
	MOVQ	AX, R14              // the file, by way of the read-only mount

	LEAQ	16(R12)(R13*8), BX   // envp, then auxv: AT_PHDR, AT_PHNUM
	XORL	BP, BP
skipenv:
	MOVQ	0(BX), AX
	ADDQ	$8, BX
	TESTQ	AX, AX
	JNZ	skipenv
	XORL	R11, R11
	MOVQ	R11, 48(SP)          // AT_PHNUM
auxv:
	MOVQ	0(BX), AX
	MOVQ	8(BX), CX
	ADDQ	$16, BX
	CMPQ	AX, $AT_PHDR
	JNE	notphdr
	MOVQ	CX, BP
notphdr:
	CMPQ	AX, $AT_PHNUM
	JNE	notphnum
	MOVQ	CX, 48(SP)
notphnum:
	TESTQ	AX, AX
	JNZ	auxv
	TESTQ	BP, BP
	JZ	again2
	MOVQ	48(SP), BX

segment:                             // BP: program header, BX: how many are left
	TESTQ	BX, BX
	JZ	mapped
	CMPL	0(BP), $PT_LOAD
	JNE	nextsegment
	MOVQ	16(BP), DI           // p_vaddr
	MOVQ	DI, SI
	ADDQ	32(BP), SI           // + p_filesz: the end of what the file fills
	MOVQ	8(BP), R9            // p_offset
	ANDQ	$~4095, DI
	ANDQ	$~4095, R9
	MOVQ	SI, 56(SP)
	SUBQ	DI, SI               // length
	MOVL	4(BP), AX            // p_flags: X 1, W 2, R 4; PROT_*: R 1, W 2, X 4
	MOVL	AX, DX
	ANDL	$2, DX
	MOVL	AX, CX
	SHRL	$2, CX
	ANDL	$1, CX
	ORL	CX, DX
	ANDL	$1, AX
	SHLL	$2, AX
	ORL	AX, DX
	MOVQ	$MAP_PRIVATE_FIXED, R10
	MOVQ	R14, R8
	MOVQ	$SYS_MMAP, AX
	SYSCALL
	TESTQ	AX, AX
	JLT	again2
	TESTL	$2, 4(BP)
	JZ	nextsegment
	MOVQ	56(SP), DI           // the rest of the last page is .bss, and zero
	MOVQ	DI, CX
	NEGQ	CX
	ANDQ	$4095, CX
	XORL	AX, AX
	CLD
	REP
	STOSB
nextsegment:
	ADDQ	$56, BP
	DECQ	BX
	JMP	segment

mapped:
	LEAQ	runtime·text(SB), AX // struct prctl_mm_map at SP+128
	MOVQ	AX, 128(SP)          // start_code
	LEAQ	runtime·etext(SB), AX
	MOVQ	AX, 136(SP)          // end_code
	LEAQ	runtime·noptrdata(SB), AX
	MOVQ	AX, 144(SP)          // start_data
	LEAQ	runtime·edata(SB), AX
	MOVQ	AX, 152(SP)          // end_data
	XORL	DI, DI
	MOVQ	$SYS_BRK, AX
	SYSCALL
	MOVQ	AX, 160(SP)          // start_brk
	MOVQ	AX, 168(SP)          // brk
	MOVQ	R12, 176(SP)         // start_stack
	MOVQ	8(R12), AX
	MOVQ	AX, 184(SP)          // arg_start: the strings lie one after the other, arguments first
	LEAQ	16(R12)(R13*8), BX
	MOVQ	0(BX), CX
	TESTQ	CX, CX
	JNZ	haveenv
	MOVQ	AX, CX
haveenv:
	MOVQ	CX, 192(SP)          // arg_end
	MOVQ	CX, 200(SP)          // env_start
	MOVQ	CX, DX
lastenv:
	MOVQ	0(BX), AX
	ADDQ	$8, BX
	TESTQ	AX, AX
	JZ	endenv
	MOVQ	AX, DX
	JMP	lastenv
endenv:
	CMPB	0(DX), $0            // the end of the last string
	JEQ	setmm
	INCQ	DX
	JMP	endenv
setmm:
	MOVQ	DX, 208(SP)          // env_end
	MOVQ	$0, 216(SP)          // auxv: as it is
	MOVL	$0, 224(SP)
	MOVL	R14, 228(SP)         // exe_fd
	MOVQ	$PR_SET_MM, DI
	MOVQ	$PR_SET_MM_MAP, SI
	LEAQ	128(SP), DX
	MOVQ	$104, R10
	XORL	R8, R8
	MOVQ	$SYS_PRCTL, AX
	SYSCALL
	MOVQ	AX, BX
	MOVQ	R14, DI
	MOVQ	$SYS_CLOSE, AX
	SYSCALL
	TESTQ	BX, BX
	JNZ	again2
	MOVL	R15, ·mount(SB)      // to close it makes the kernel wait for RCU: see Release
	JMP	go
again2:
	MOVQ	R15, DI
	LEAQ	·emptyPath(SB), SI
	LEAQ	8(R12), DX           // argv
	LEAQ	16(R12)(R13*8), R10  // envp = &argv[argc+1]
	MOVQ	$AT_EMPTY_PATH, R8
	MOVQ	$SYS_EXECVEAT, AX
	SYSCALL
close:
	MOVQ	R15, DI
	MOVQ	$SYS_CLOSE, AX
	SYSCALL
go:
	// What the Go runtime would do at its start for nobody. It reads the limits of its cgroup, even where it is told not to
	// heed them (GODEBUG=containermaxprocs=0): /proc/self/mountinfo among others. It can't open what gets a number from 3
	// on while that is the soft limit of RLIMIT_NOFILE; package nofile gives the caller's limit back before anything else is
	// initialised. And it records one allocation for a profile before it sees that nobody can ask for it.
	MOVQ	·memProfileRate(SB), AX
	MOVQ	$0, 0(AX)
	SUBQ	$16, SP
	XORL	DI, DI
	MOVL	$RLIMIT_NOFILE, SI
	XORL	DX, DX
	LEAQ	github·com∕vsrun∕vsrun∕libvserver∕host∕nofile·Original(SB), R10
	MOVL	$SYS_PRLIMIT64, AX
	SYSCALL
	TESTQ	AX, AX
	JNZ	start
	MOVQ	8(R10), AX           // struct rlimit64: rlim_cur, rlim_max
	MOVQ	AX, 8(SP)
	CMPQ	AX, $3
	JLS	start
	MOVQ	$3, 0(SP)
	MOVQ	SP, DX
	XORL	R10, R10
	MOVL	$SYS_PRLIMIT64, AX
	SYSCALL
start:
	MOVQ	R12, SP
	JMP	_rt0_amd64_linux(SB)

DATA	·exePath+0(SB)/8, $"/proc/se"
DATA	·exePath+8(SB)/8, $"lf/exe\x00\x00"
GLOBL	·exePath(SB), NOPTR|RODATA, $16
DATA	·emptyPath+0(SB)/8, $0
GLOBL	·emptyPath(SB), NOPTR|RODATA, $8
DATA	·fdPath+0(SB)/8, $"/proc/se"
DATA	·fdPath+8(SB)/8, $"lf/fd/\x00\x00"
GLOBL	·fdPath(SB), NOPTR|RODATA, $16
