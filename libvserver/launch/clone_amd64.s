#include "textflag.h"

#define SYS_CLONE3 435

// func cloneShared(args *cloneArgs, size uintptr, fn uintptr, arg unsafe.Pointer) (r uintptr)
//
// The child has a stack of its own and runs fn(arg), which does not return. fn is the address of a Go function: the
// argument is in AX, the zero register X15 is cleared and R14 holds g (https://go.dev/s/regabi); nothing that fn calls
// uses g, as all of it is nosplit.
TEXT ·cloneShared(SB),NOSPLIT|NOFRAME,$0-40
	MOVQ	args+0(FP), DI
	MOVQ	size+8(FP), SI
	MOVQ	fn+16(FP), R12
	MOVQ	arg+24(FP), R13
	MOVL	$SYS_CLONE3, AX
	SYSCALL
	TESTQ	AX, AX
	JZ	child
	MOVQ	AX, r+32(FP)
	RET
child:
	SUBQ	$64, SP // fn may spill its argument above its return address
	XORL	BP, BP
	MOVQ	R13, AX
	XORPS	X15, X15
	MOVQ	(TLS), R14
	CALL	R12
	INT	$3
