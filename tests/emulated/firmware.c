// The firmware's second half: loads one static Linux program and answers the few system calls such a test program makes.
//
// It exists so that AVX-512 tests run on an emulated CPU within seconds: no BIOS, no boot loader, no Linux kernel to emulate.
// The program runs in ring 0 on identity-mapped memory, alone, with interrupts off. No threads, no files, no signals.
// Output goes to the first serial port; the last line is "[emulated exit CODE]".

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

// 1 GiB of RAM.
#define PIE_BASE 0x00800000ul // a position-independent program; any other kind names its own addresses
#define BRK_END 0x10000000ul
#define STACK_TOP 0x12000000ul // the program's stack: 32 MiB below this
#define MMAP_START 0x12000000ul
#define MMAP_END 0x38000000ul
#define DISK 0x38000000ul     // the disk's copy, made at the start: arguments in the first 64 KiB, then the ELF file
#define DISK_END 0x40000000ul
#define IMAGE (DISK + 65536)

enum { ENOENT = 2, ENOMEM = 12, EINVAL = 22, ENOTTY = 25, ENOSYS = 38 };

void enter_program(u64 entry, u64 rsp) __attribute__((noreturn));
extern u8 exception_vectors[];

static u64 brk_start, brk_now, mmap_next = MMAP_START;

static void out8(u16 port, u8 v) { __asm__ volatile("outb %0, %1" ::"a"(v), "Nd"(port)); }
static u8 in8(u16 port) { u8 v; __asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port)); return v; }
static void write_msr(u32 msr, u64 v) { __asm__ volatile("wrmsr" ::"c"(msr), "a"((u32)v), "d"((u32)(v >> 32))); }
static u64 ticks(void) { u32 lo, hi; __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)); return (u64)hi << 32 | lo; }
static void zero(u64 at, u64 n) { __asm__ volatile("rep stosb" : "+D"(at), "+c"(n) : "a"(0) : "memory"); }
static void copy(u64 to, u64 from, u64 n) { __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory"); }

static void print_bytes(const char *s, u64 n)
{
    for (; n; n--) {
        while (!(in8(0x3fd) & 0x20)) {
        }
        out8(0x3f8, *s++);
    }
}
static u64 length(const char *s) { u64 n = 0; while (s[n]) n++; return n; }
static void print(const char *s) { print_bytes(s, length(s)); }
static void print_number(u64 v, u64 base)
{
    char digits[24];
    int at = sizeof digits;
    do digits[--at] = "0123456789abcdef"[v % base]; while (v /= base);
    print_bytes(digits + at, sizeof digits - at);
}

static void __attribute__((noreturn)) leave(u64 code)
{
    print("\n[emulated exit ");
    print_number(code & 255, 10);
    print("]\n");
    while (!(in8(0x3fd) & 0x40)) { // the transmitter is empty
    }
    for (const char *s = "Shutdown"; *s; s++) out8(0x8900, *s); // Bochs' own port: ends the emulator
    for (;;) __asm__ volatile("cli; hlt");
}

void exception(const u64 *frame)
{
    print("\nexception ");
    print_number(frame[0], 10);
    print(frame[0] == 6 ? " (invalid instruction), rip 0x" : ", rip 0x");
    print_number(frame[2], 16);
    print(", error code 0x");
    print_number(frame[1], 16);
    leave(frame[0] == 6 ? 132 : 139); // as a shell reports SIGILL and SIGSEGV
}

// The first ATA disk, whole, by programmed I/O in LBA28 mode. Sector 0 starts with the number of sectors.
static void read_sectors(u64 to, u32 first, u32 count)
{
    out8(0x1f6, 0xe0 | first >> 24);
    out8(0x1f2, count); // 0 would mean 256
    out8(0x1f3, first);
    out8(0x1f4, first >> 8);
    out8(0x1f5, first >> 16);
    out8(0x1f7, 0x20); // READ SECTORS
    for (; count; count--) {
        while ((in8(0x1f7) & 0x88) != 0x08) { // until not busy and data requested
        }
        u64 words = 256;
        __asm__ volatile("rep insw" : "+D"(to), "+c"(words) : "d"(0x1f0) : "memory");
    }
}
static void read_disk(void)
{
    read_sectors(DISK, 0, 1);
    u32 sectors = *(u32 *)DISK;
    if (!sectors || sectors > (DISK_END - DISK) / 512) print("no program on the disk\n"), leave(127);
    for (u32 at = 0; at < sectors; at += 128) read_sectors(DISK + 512ul * at, at, sectors - at < 128 ? sectors - at : 128);
}

static i64 map(u64 at, u64 bytes, u64 flags)
{
    bytes = (bytes + 4095) & ~4095ul;
    if (!(flags & 0x10)) { // not MAP_FIXED
        if (!bytes || bytes > MMAP_END - mmap_next) return -ENOMEM;
        at = mmap_next;
        mmap_next += bytes;
    }
    zero(at, bytes);
    return at;
}

static void unmap(u64 at, u64 bytes)
{
    bytes = (bytes + 4095) & ~4095ul;
    if (at + bytes == mmap_next) mmap_next = at; // only the newest block is given back
}

i64 system_call(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f, u64 number)
{
    (void)e, (void)f;
    switch (number) {
    case 1: // write
        if (a == 1 || a == 2) print_bytes((const char *)b, c);
        return c;
    case 20: { // writev
        u64 sum = 0;
        for (const u64 *v = (const u64 *)b; c; c--, v += 2) print_bytes((const char *)v[0], v[1]), sum += v[1];
        return sum;
    }
    case 9: return (d & 0x20) ? map(a, b, d) : -EINVAL; // mmap, MAP_ANONYMOUS only
    case 11: unmap(a, b); return 0;
    case 12: // brk
        if (a >= brk_start && a < BRK_END) {
            if (a > brk_now) zero(brk_now, a - brk_now);
            brk_now = a;
        }
        return brk_now;
    case 158: // arch_prctl: ARCH_SET_FS, ARCH_REQ_XCOMP_PERM (tile data: boot.S has switched it on where it exists)
        if (a == 0x1023) return b == 18 ? 0 : -EINVAL;
        if (a != 0x1002) return -EINVAL;
        write_msr(0xc0000100, b);
        return 0;
    case 204: // sched_getaffinity: one CPU
        if (b < 8) return -EINVAL;
        *(u64 *)c = 1;
        return 8;
    case 228: { // clock_gettime: instructions executed, as 10 ns each
        u64 ns = ticks() * 10;
        ((u64 *)b)[0] = ns / 1000000000;
        ((u64 *)b)[1] = ns % 1000000000;
        return 0;
    }
    case 302: // prlimit64: 32 MiB, which is the stack's
        if (d) ((u64 *)d)[0] = ((u64 *)d)[1] = 32ul << 20;
        return 0;
    case 318: { // getrandom: the same numbers in every run
        static u64 state = 1;
        for (u64 i = 0; i < b; i++) state = state * 6364136223846793005ul + 1442695040888963407ul, ((u8 *)a)[i] = state >> 56;
        return b;
    }
    case 60: case 231: leave(a);                      // exit, exit_group
    case 200: leave(128 + b);                         // tkill
    case 234: leave(128 + c);                         // tgkill: abort()
    case 39: case 186: case 218: return 1;            // getpid, gettid, set_tid_address
    case 16: return -ENOTTY;                          // ioctl
    case 89: case 257: case 267: return -ENOENT;      // readlink, openat, readlinkat
    case 0: case 3: case 7: case 10: case 13: case 14: case 24: case 28: case 131: case 202: case 273:
        return 0; // read, close, poll, mprotect, rt_sigaction, rt_sigprocmask, sched_yield, madvise, sigaltstack, futex, set_robust_list
    default: return -ENOSYS;
    }
}

struct elf_header { u8 ident[16]; u16 type, machine; u32 version; u64 entry, phoff, shoff; u32 flags; u16 ehsize, phentsize, phnum; };
struct program_header { u32 type, flags; u64 offset, vaddr, paddr, filesz, memsz, align; };

static void load_and_start(void)
{
    const struct elf_header *h = (const void *)IMAGE;
    const struct program_header *p = (const void *)(IMAGE + h->phoff);
    u64 base = h->type == 3 ? PIE_BASE : 0, phdr = 0; // 3: ET_DYN
    for (int i = 0; i < h->phnum; i++) {
        if (p[i].type != 1) continue; // PT_LOAD
        u64 at = base + p[i].vaddr;
        if (at + p[i].memsz >= BRK_END || at < 0x100000) print("the program does not fit into memory\n"), leave(127);
        zero(at, p[i].memsz);
        copy(at, IMAGE + p[i].offset, p[i].filesz);
        if (h->phoff >= p[i].offset && h->phoff < p[i].offset + p[i].filesz) phdr = at + h->phoff - p[i].offset;
        if (at + p[i].memsz > brk_start) brk_start = at + p[i].memsz;
    }
    brk_start = brk_now = (brk_start + 4095) & ~4095ul;

    // The System V start: argc, argv, environment, auxiliary vector.
    u64 *sp = (u64 *)(STACK_TOP - 65536), *top = sp + 1;
    const char *s = (const char *)DISK + 4; // arguments, environment: strings ended by a zero byte, each list by one more
    for (; *s; s += length(s) + 1) *top++ = (u64)s;
    *sp = top - sp - 1;
    *top++ = 0;
    for (s++; *s; s += length(s) + 1) *top++ = (u64)s;
    *top++ = 0;
    const u64 aux[] = {3, phdr, 4, h->phentsize, 5, h->phnum, 6, 4096, 7, 0, 9, base + h->entry, 17, 100,
                       23, 0, 25, IMAGE, 0, 0}; // PHDR PHENT PHNUM PAGESZ BASE ENTRY CLKTCK SECURE RANDOM NULL
    for (u64 i = 0; i < sizeof aux / 8; i++) *top++ = aux[i];
    enter_program(base + h->entry, (u64)sp);
}

void firmware_main(void)
{
    static struct { u16 low, selector, type, middle; u32 high, zero; } idt[32];
    for (u64 i = 0; i < 32; i++) {
        u64 at = (u64)exception_vectors + 16 * i;
        idt[i].low = at, idt[i].selector = 24, idt[i].type = 0x8e00, idt[i].middle = at >> 16;
    }
    struct { u16 limit; u64 base; } __attribute__((packed)) idtr = {sizeof idt - 1, (u64)idt};
    __asm__ volatile("lidt %0" ::"m"(idtr));
    out8(0x3fb, 0x80); // 115200 baud, 8N1
    out8(0x3f8, 1);
    out8(0x3f9, 0);
    out8(0x3fb, 3);
    read_disk();
    load_and_start();
}
