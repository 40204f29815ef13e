#include "textflag.h"

#define SYS_RT_SIGRETURN 15
#define SYS_PIDFD_SEND_SIGNAL 424

// handler(signal DI, info SI, context DX) runs on the thread's signal stack.
TEXT ·handler(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVL	·target(SB), AX
	TESTL	AX, AX
	JLT	wait
	MOVL	DI, SI
	MOVL	AX, DI
	XORL	DX, DX
	XORL	R10, R10
	MOVL	$SYS_PIDFD_SEND_SIGNAL, AX
	SYSCALL
	RET
wait:
	LEAL	-1(DI), CX
	MOVL	$1, AX
	SHLQ	CX, AX
	LOCK
	ORQ	AX, ·pending(SB)
	RET

TEXT ·restorer(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVL	$SYS_RT_SIGRETURN, AX
	SYSCALL
	INT	$3

TEXT ·handlerPC(SB),NOSPLIT,$0-8
	LEAQ	·handler(SB), AX
	MOVQ	AX, ret+0(FP)
	RET

TEXT ·restorerPC(SB),NOSPLIT,$0-8
	LEAQ	·restorer(SB), AX
	MOVQ	AX, ret+0(FP)
	RET
