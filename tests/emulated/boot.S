# The firmware's first half: from the reset vector to 64-bit C with AVX-512 switched on.
#
# The whole firmware is one 64 KiB ROM ending at 4 GiB. It is linked for 0x10000 in RAM, where it copies itself; code that
# still runs in the ROM therefore adds ROM_DELTA to a symbol's address.

.set RAM_BASE, 0x10000
.set ROM_DELTA, 0xfffe0000                  # 0xffff0000 - RAM_BASE
.set PML4, 0x1000                           # then the PDPT at 0x2000 and four page directories at 0x3000..0x6fff

.section .boot, "ax"
.code16
start16:
    cli
    lgdtl %cs:(gdt_ptr_rom - RAM_BASE)
    movl %cr0, %eax
    orb $1, %al                             # PE
    movl %eax, %cr0
    ljmpl $8, $(start32 + ROM_DELTA)

.code32
start32:
    movw $16, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    inb $0x92, %al                          # address line 20
    orb $2, %al
    outb %al, $0x92
    movl $(RAM_BASE + ROM_DELTA), %esi
    movl $RAM_BASE, %edi
    movl $(0x10000 / 4), %ecx
    cld
    rep movsl
    movl $in_ram, %eax
    jmp *%eax

in_ram:
    movl $bss_start, %edi                   # the stack is in it too
    movl $bss_end, %ecx
    subl %edi, %ecx
    xorl %eax, %eax
    rep stosb
    movl $PML4, %edi                        # identity map of 4 GiB in 2 MiB pages
    movl $(0x6000 / 4), %ecx
    rep stosl
    movl $(PML4 + 0x1000 + 3), PML4
    movl $(PML4 + 0x2000 + 3), PML4 + 0x1000
    movl $(PML4 + 0x3000 + 3), PML4 + 0x1008
    movl $(PML4 + 0x4000 + 3), PML4 + 0x1010
    movl $(PML4 + 0x5000 + 3), PML4 + 0x1018
    movl $(PML4 + 0x2000), %edi
    movl $0x83, %eax                        # present, writable, 2 MiB
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    jnc 1b
    movl $PML4, %eax
    movl %eax, %cr3
    movl $0x50620, %eax                     # PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, OSXSAVE
    movl %eax, %cr4
    movl $0xc0000080, %ecx                  # EFER: LME, SCE
    movl $0x101, %eax
    xorl %edx, %edx
    wrmsr
    movl $0x80000023, %eax                  # PG, NE, MP, PE
    movl %eax, %cr0
    lgdt gdt_ptr_ram
    ljmp $24, $start64

.code64
start64:
    movw $32, %ax
    movw %ax, %ds
    movw %ax, %es
    movw %ax, %ss
    movl $0xd, %eax                         # XCR0: x87, SSE, AVX, the three AVX-512 states, the two of AMX where the CPU has them
    xorl %ecx, %ecx
    cpuid
    andl $0x600e7, %eax
    xorl %ecx, %ecx
    xorl %edx, %edx
    xsetbv
    movl $0xc0000081, %ecx                  # STAR: SYSCALL stays in ring 0, code selector 24, stack selector 32
    xorl %eax, %eax
    movl $24, %edx
    wrmsr
    movl $0xc0000082, %ecx                  # LSTAR
    movl $system_call_entry, %eax
    xorl %edx, %edx
    wrmsr
    movl $stack_top, %esp
    call firmware_main

# SYSCALL: every register but rax, rcx, r11 survives; the program's stack (and its red zone) is not touched.
system_call_entry:
    movq %rsp, program_rsp
    movl $stack_top, %esp
    pushq %rcx
    pushq %rdi
    pushq %rsi
    pushq %rdx
    pushq %r8
    pushq %r9
    pushq %r10
    pushq %rax                              # seventh argument: the call's number
    movq %r10, %rcx
    call system_call
    addq $8, %rsp
    popq %r10
    popq %r9
    popq %r8
    popq %rdx
    popq %rsi
    popq %rdi
    popq %rcx
    movq program_rsp, %rsp
    jmp *%rcx

.globl enter_program
enter_program:                              # (entry, rsp): Linux starts a program with rdx = 0 and no exit function
    movq %rsi, %rsp
    movq %rdi, %rax
    xorl %edx, %edx
    xorl %ebp, %ebp
    jmp *%rax

# Exceptions end the run. Vectors 8, 10 to 14, 17, 21 push an error code; the others get a zero.
.globl exception_vectors
.balign 16
exception_vectors:
.set n, 0
.rept 32
    .balign 16
    .if (n == 8) || ((n >= 10) && (n <= 14)) || (n == 17) || (n == 21)
    .else
    pushq $0
    .endif
    pushq $n
    jmp exception_entry
    .set n, n + 1
.endr
exception_entry:
    movq %rsp, %rdi                         # { vector, error code, rip, ... }
    andq $-16, %rsp
    call exception

.balign 8
gdt:
    .quad 0
    .quad 0x00cf9a000000ffff                # 8: 32-bit code
    .quad 0x00cf92000000ffff                # 16: 32-bit data
    .quad 0x00af9a000000ffff                # 24: 64-bit code
    .quad 0x00cf92000000ffff                # 32: data
gdt_ptr_rom:
    .word 39
    .long gdt + ROM_DELTA
gdt_ptr_ram:
    .word 39
    .long gdt

.section .reset, "ax"
.code16
    .byte 0xe9                              # jmp start16: both lie in the ROM's last 64 KiB
    .word start16 - (. + 2)

.bss
program_rsp: .skip 8
.balign 64
    .skip 65536
stack_top:
.section .note.GNU-stack, "", @progbits
