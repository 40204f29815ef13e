#include "textflag.h"

#define SYS_CLONE3 435

// See clone_amd64.s. The argument is in R0, g in R28.
TEXT ·cloneShared(SB),NOSPLIT|NOFRAME,$0-40
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	fn+16(FP), R19
	MOVD	arg+24(FP), R20
	MOVD	$SYS_CLONE3, R8
	SVC
	CBZ	R0, child
	MOVD	R0, r+32(FP)
	RET
child:
	SUB	$64, RSP // fn may spill its argument above its frame
	MOVD	ZR, R29
	MOVD	R20, R0
	BL	(R19)
	BRK
