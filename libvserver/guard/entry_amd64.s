#include "textflag.h"

// The entry point of the executable (linked with -E). It may touch nothing but its own stack frame below the one that the
// kernel has laid out, and goes on to the Go runtime's entry point with the stack as it was found.
//
//	if one of argv[1:] is run, create, exec or restore
//	and /proc/self/exe may be written and is not fs-verity's:
//		fd = open_tree("/proc/self/exe", CLONE); mount_setattr(fd, RDONLY); execveat(fd)
//
// After that execveat /proc/self/exe is on a read-only mount, so this runs once. Every failure goes on: guard.Ensure
// looks again. The words that it looks for may also be arguments of other commands: then it was for nothing, no more.

#define SYS_EXECVEAT 322
#define SYS_STATX 332
#define SYS_CLOSE 3
#define SYS_OPEN_TREE 428
#define SYS_FACCESSAT2 439
#define SYS_MOUNT_SETATTR 442
#define AT_FDCWD -100
#define AT_EMPTY_PATH 0x1000
#define AT_EACCESS 0x200
#define W_OK 2
#define OPEN_TREE_CLONE_CLOEXEC 0x80001
#define MOUNT_ATTR_RDONLY 1
#define STATX_ATTR_VERITY 0x100000

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
	MOVQ	R12, SP
	JMP	_rt0_amd64_linux(SB)

DATA	·exePath+0(SB)/8, $"/proc/se"
DATA	·exePath+8(SB)/8, $"lf/exe\x00\x00"
GLOBL	·exePath(SB), NOPTR|RODATA, $16
DATA	·emptyPath+0(SB)/8, $0
GLOBL	·emptyPath(SB), NOPTR|RODATA, $8
