//go:build cgo

package main

import (
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"github.com/vsrun/vsrun/libvserver/seccomp/wire"
)

// abi ties libseccomp's name of an architecture to the kernel's.
type abi struct {
	lib   libseccomp.ScmpArch
	audit uint32 // struct seccomp_data.arch
}

// abis is indexed by wire.Arch. The kernel has no audit number for x32: its
// system calls come as x86-64 ones with bit 30 of the number set.
var abis = [wire.ArchEnd]abi{
	wire.X86:         {libseccomp.ArchX86, unix.AUDIT_ARCH_I386},
	wire.X86_64:      {libseccomp.ArchAMD64, unix.AUDIT_ARCH_X86_64},
	wire.X32:         {libseccomp.ArchX32, unix.AUDIT_ARCH_X86_64},
	wire.ARM:         {libseccomp.ArchARM, unix.AUDIT_ARCH_ARM},
	wire.AARCH64:     {libseccomp.ArchARM64, unix.AUDIT_ARCH_AARCH64},
	wire.MIPS:        {libseccomp.ArchMIPS, unix.AUDIT_ARCH_MIPS},
	wire.MIPS64:      {libseccomp.ArchMIPS64, unix.AUDIT_ARCH_MIPS64},
	wire.MIPS64N32:   {libseccomp.ArchMIPS64N32, unix.AUDIT_ARCH_MIPS64N32},
	wire.MIPSEL:      {libseccomp.ArchMIPSEL, unix.AUDIT_ARCH_MIPSEL},
	wire.MIPSEL64:    {libseccomp.ArchMIPSEL64, unix.AUDIT_ARCH_MIPSEL64},
	wire.MIPSEL64N32: {libseccomp.ArchMIPSEL64N32, unix.AUDIT_ARCH_MIPSEL64N32},
	wire.PPC:         {libseccomp.ArchPPC, unix.AUDIT_ARCH_PPC},
	wire.PPC64:       {libseccomp.ArchPPC64, unix.AUDIT_ARCH_PPC64},
	wire.PPC64LE:     {libseccomp.ArchPPC64LE, unix.AUDIT_ARCH_PPC64LE},
	wire.S390:        {libseccomp.ArchS390, unix.AUDIT_ARCH_S390},
	wire.S390X:       {libseccomp.ArchS390X, unix.AUDIT_ARCH_S390X},
	wire.PARISC:      {libseccomp.ArchPARISC, unix.AUDIT_ARCH_PARISC},
	wire.PARISC64:    {libseccomp.ArchPARISC64, unix.AUDIT_ARCH_PARISC64},
	wire.RISCV64:     {libseccomp.ArchRISCV64, unix.AUDIT_ARCH_RISCV64},
	wire.LOONGARCH64: {libseccomp.ArchLOONGARCH64, unix.AUDIT_ARCH_LOONGARCH64},
	wire.M68K:        {libseccomp.ArchM68K, unix.AUDIT_ARCH_M68K},
	wire.SH:          {libseccomp.ArchSH, unix.AUDIT_ARCH_SHEL},
	wire.SHEB:        {libseccomp.ArchSHEB, unix.AUDIT_ARCH_SH},
}
