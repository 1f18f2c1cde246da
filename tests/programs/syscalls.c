/* Makes calls from every kind of site, often enough that a kernel which rewrites sites has rewritten them, and checks
 * what the ABI promises: all registers but RAX, RCX and R11 are kept, and so is the red zone below RSP. */
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROUNDS 2000

/* A leaf with live data in its red zone around a call. Returns the number of words that changed. */
static long __attribute__((noinline)) red_zone(long nr)
{
    long bad;
    __asm__ volatile(
        "mov $0x1111, %%r8\n\t"
        "mov %%r8, -8(%%rsp)\n\t"
        "mov %%r8, -64(%%rsp)\n\t"
        "mov %%r8, -120(%%rsp)\n\t"
        "mov %%r8, -128(%%rsp)\n\t"
        "mov %[nr], %%rax\n\t"
        "syscall\n\t"
        "xor %[bad], %[bad]\n\t"
        "cmp %%r8, -8(%%rsp)\n\t setne %b[bad]\n\t"
        "cmp %%r8, -64(%%rsp)\n\t setne %%al\n\t or %%al, %b[bad]\n\t"
        "cmp %%r8, -120(%%rsp)\n\t setne %%al\n\t or %%al, %b[bad]\n\t"
        "cmp %%r8, -128(%%rsp)\n\t setne %%al\n\t or %%al, %b[bad]\n\t"
        "movzbq %b[bad], %[bad]"
        : [bad] "=&b"(bad)
        : [nr] "r"(nr)
        : "rax", "rcx", "r8", "r11", "memory", "cc");
    return bad;
}

/* Fills the registers, calls, and counts those that changed. */
static long registers(long nr)
{
    uint64_t before[12], after[12], *in = before, *out = after;
    for (int i = 0; i < 12; i++)
        before[i] = 0x0101010101010101UL * (unsigned)(i + 1);
    before[0] = before[1] = before[2] = 0; /* RDI, RSI, RDX are arguments */
    __asm__ volatile(
        "lea -128(%%rsp), %%rsp\n\t" /* past the compiler's own red zone */
        "push %%rbp\n\t push %%rbx\n\t push %%r12\n\t push %%r13\n\t push %%r14\n\t push %%r15\n\t"
        "push %[after]\n\t"
        "mov %[before], %%r15\n\t"
        "mov (%%r15), %%rdi\n\t mov 8(%%r15), %%rsi\n\t mov 16(%%r15), %%rdx\n\t"
        "mov 24(%%r15), %%r8\n\t mov 32(%%r15), %%r9\n\t mov 40(%%r15), %%r10\n\t"
        "mov 48(%%r15), %%rbx\n\t mov 56(%%r15), %%rbp\n\t mov 64(%%r15), %%r12\n\t"
        "mov 72(%%r15), %%r13\n\t mov 80(%%r15), %%r14\n\t mov 88(%%r15), %%r15\n\t"
        "syscall\n\t"
        "pop %%rcx\n\t"
        "mov %%rdi, (%%rcx)\n\t mov %%rsi, 8(%%rcx)\n\t mov %%rdx, 16(%%rcx)\n\t"
        "mov %%r8, 24(%%rcx)\n\t mov %%r9, 32(%%rcx)\n\t mov %%r10, 40(%%rcx)\n\t"
        "mov %%rbx, 48(%%rcx)\n\t mov %%rbp, 56(%%rcx)\n\t mov %%r12, 64(%%rcx)\n\t"
        "mov %%r13, 72(%%rcx)\n\t mov %%r14, 80(%%rcx)\n\t mov %%r15, 88(%%rcx)\n\t"
        "pop %%r15\n\t pop %%r14\n\t pop %%r13\n\t pop %%r12\n\t pop %%rbx\n\t pop %%rbp\n\t"
        "lea 128(%%rsp), %%rsp\n\t"
        : "+a"(nr), [before] "+c"(in), [after] "+d"(out)
        :
        : "rdi", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
    long bad = 0;
    for (int i = 0; i < 12; i++)
        bad += before[i] != after[i];
    return bad;
}

/* Vector registers must survive as well. */
static long vectors(long nr)
{
    uint64_t in[2] = { 0x1234567890abcdefUL, 0xfedcba0987654321UL }, out[2] = { 0, 0 };
    __asm__ volatile("movdqu (%[in]), %%xmm9\n\t"
                     "syscall\n\t"
                     "movdqu %%xmm9, (%[out])"
                     : "+a"(nr)
                     : [in] "r"(in), [out] "r"(out)
                     : "rcx", "r11", "xmm9", "memory");
    return (in[0] != out[0]) + (in[1] != out[1]);
}

/* The number in a register set elsewhere: no site-specific rewriting can know it. */
static long __attribute__((noinline)) by_register(long nr)
{
    __asm__ volatile("syscall" : "+a"(nr) : : "rcx", "r11", "memory");
    return nr;
}

/* A jump straight to the `syscall` instruction of a site that is also entered from above. */
static long jumped_to(long nr)
{
    long result;
    __asm__ volatile(
        "mov %[nr], %%rax\n\t"
        "cmp $0, %%rax\n\t"
        "jg 1f\n\t"
        "mov $39, %%eax\n\t"
        "1: syscall\n\t"
        : "=&a"(result)
        : [nr] "r"(nr)
        : "rcx", "r11", "memory", "cc");
    return result;
}

int main(void)
{
    long red = 0, regs = 0, vec = 0, wrong = 0;
    long pid = syscall(SYS_getpid), ppid = syscall(SYS_getppid);

    for (int i = 0; i < ROUNDS; i++) {
        red += red_zone(SYS_getpid) + red_zone(SYS_getppid);
        regs += registers(SYS_getpid) + registers(SYS_getppid);
        vec += vectors(SYS_getpid) + vectors(SYS_getppid);
        wrong += by_register(SYS_getpid) != pid;
        wrong += by_register(SYS_getppid) != ppid;
        wrong += jumped_to(SYS_getppid) != ppid;
        wrong += jumped_to(0) != pid;
        wrong += getpid() != pid;
        wrong += getppid() != ppid;
    }
    printf("red zone %ld, registers %ld, vectors %ld, results %ld\n", red, regs, vec, wrong);
    printf("unknown calls: %d %d %d\n", by_register(400) == -38, by_register(100000) == -38,
           by_register(-1) == -38);
    return 0;
}
