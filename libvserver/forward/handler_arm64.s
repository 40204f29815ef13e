#include "textflag.h"

#define SYS_RT_SIGRETURN 139
#define SYS_PIDFD_SEND_SIGNAL 424

// handler(signal R0, info R1, context R2) runs on the thread's signal stack.
TEXT ·handler(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVW	·target(SB), R3
	TBNZ	$31, R3, wait
	MOVD	R0, R1
	MOVW	R3, R0
	MOVD	ZR, R2
	MOVD	ZR, R3
	MOVD	$SYS_PIDFD_SEND_SIGNAL, R8
	SVC
	RET
wait:
	SUB	$1, R0
	MOVD	$1, R1
	LSL	R0, R1, R1
	MOVD	$·pending(SB), R2
again:
	LDAXR	(R2), R3
	ORR	R1, R3
	STLXR	R3, (R2), R4
	CBNZ	R4, again
	RET

TEXT ·restorer(SB),NOSPLIT|NOFRAME|TOPFRAME,$0
	MOVD	$SYS_RT_SIGRETURN, R8
	SVC
	BRK

TEXT ·handlerPC(SB),NOSPLIT,$0-8
	MOVD	$·handler(SB), R0
	MOVD	R0, ret+0(FP)
	RET

TEXT ·restorerPC(SB),NOSPLIT,$0-8
	MOVD	$·restorer(SB), R0
	MOVD	R0, ret+0(FP)
	RET
