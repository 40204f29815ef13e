#include "textflag.h"

// The same as entry_amd64.s, which see.

#define SYS_EXECVEAT 281
#define SYS_STATX 291
#define SYS_CLOSE 57
#define SYS_OPEN_TREE 428
#define SYS_FACCESSAT2 439
#define SYS_MOUNT_SETATTR 442
#define AT_FDCWD -100
#define AT_EMPTY_PATH 0x1000
#define AT_EACCESS 0x200
#define W_OK 2
#define OPEN_TREE_CLONE_CLOEXEC 0x80001
#define STATX_ATTR_VERITY 0x100000

TEXT ·entry(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	RSP, R19
	MOVD	0(R19), R20          // argc
	ADD	$16, R19, R21        // &argv[1]
	CMP	$2, R20
	BLT	go
next:
	MOVD	(R21), R9
	CBZ	R9, go
	MOVD	$·words(SB), R10     // four words of 8 bytes
	MOVD	$4, R11
word:
	MOVD	$0, R12
char:
	ADD	R12, R9, R15
	MOVBU	(R15), R13
	ADD	R12, R10, R15
	MOVBU	(R15), R14
	CMP	R13, R14
	BNE	other
	CBZ	R13, found
	ADD	$1, R12
	B	char
other:
	ADD	$8, R10
	SUB	$1, R11
	CBNZ	R11, word
	ADD	$8, R21
	B	next
found:
	SUB	$512, RSP
	MOVD	$AT_FDCWD, R0
	MOVD	$·exePath(SB), R1
	MOVD	$W_OK, R2
	MOVD	$AT_EACCESS, R3
	MOVD	$SYS_FACCESSAT2, R8
	SVC
	CBNZ	R0, go

	MOVD	$AT_FDCWD, R0
	MOVD	$·exePath(SB), R1
	MOVD	$0, R2
	MOVD	$0, R3
	ADD	$64, RSP, R4
	MOVD	$SYS_STATX, R8
	SVC
	CBNZ	R0, go
	ADD	$64, RSP, R4
	MOVD	8(R4), R5            // stx_attributes
	MOVD	$STATX_ATTR_VERITY, R6
	TST	R6, R5
	BNE	go

	MOVD	$AT_FDCWD, R0
	MOVD	$·exePath(SB), R1
	MOVD	$OPEN_TREE_CLONE_CLOEXEC, R2
	MOVD	$SYS_OPEN_TREE, R8
	SVC
	TBNZ	$63, R0, go
	MOVD	R0, R22

	ADD	$16, RSP, R3         // struct mount_attr: attr_set = MOUNT_ATTR_RDONLY
	MOVD	$1, R5
	MOVD	R5, (R3)
	MOVD	ZR, 8(R3)
	MOVD	ZR, 16(R3)
	MOVD	ZR, 24(R3)
	MOVD	$·emptyPath(SB), R1
	MOVD	$AT_EMPTY_PATH, R2
	MOVD	$32, R4
	MOVD	$SYS_MOUNT_SETATTR, R8
	SVC
	CBNZ	R0, close

	MOVD	R22, R0
	MOVD	$·emptyPath(SB), R1
	ADD	$8, R19, R2          // argv
	ADD	$1, R20, R3
	ADD	R3<<3, R2, R3        // envp = &argv[argc+1]
	MOVD	$AT_EMPTY_PATH, R4
	MOVD	$SYS_EXECVEAT, R8
	SVC
close:
	MOVD	R22, R0
	MOVD	$SYS_CLOSE, R8
	SVC
go:
	MOVD	R19, RSP
	B	_rt0_arm64_linux(SB)

DATA	·exePath+0(SB)/8, $"/proc/se"
DATA	·exePath+8(SB)/8, $"lf/exe\x00\x00"
GLOBL	·exePath(SB), NOPTR|RODATA, $16
DATA	·emptyPath+0(SB)/8, $0
GLOBL	·emptyPath(SB), NOPTR|RODATA, $8
DATA	·words+0(SB)/8, $"run\x00\x00\x00\x00\x00"
DATA	·words+8(SB)/8, $"create\x00\x00"
DATA	·words+16(SB)/8, $"exec\x00\x00\x00\x00"
DATA	·words+24(SB)/8, $"restore\x00"
GLOBL	·words(SB), NOPTR|RODATA, $32
