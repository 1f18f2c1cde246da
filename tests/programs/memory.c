/* Exercises every way a program gets, changes and returns memory; prints what it sees. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB (1UL << 20)

static int is_filled(const unsigned char *p, unsigned char byte, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i] != byte)
            return 0;
    return 1;
}

static void heap(void)
{
    enum { BLOCKS = 200 };
    static unsigned char *block[BLOCKS];
    unsigned seed = 1, size[BLOCKS];
    int good = 1;

    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < BLOCKS; i++) {
            seed = seed * 1103515245 + 12345;
            size[i] = seed % 300000;
            block[i] = realloc(block[i], size[i] + 1);
            memset(block[i], i, size[i] + 1);
        }
        for (int i = 0; i < BLOCKS; i++)
            good &= is_filled(block[i], (unsigned char)i, size[i] + 1);
    }
    for (int i = 0; i < BLOCKS; i++)
        free(block[i]);
    printf("heap %s\n", good ? "good" : "damaged");
}

static void mappings(void)
{
    unsigned char *p = mmap(NULL, 8 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("fresh memory is %s\n", is_filled(p, 0, 8 * MIB) ? "zero" : "dirty");
    memset(p, 7, 8 * MIB);
    printf("hole: %d\n", munmap(p + 3 * MIB + 4096, 4096));
    unsigned char *again = mmap(p + 3 * MIB + 4096, 4096, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    printf("filled where it was: %d, zero: %d\n", again == p + 3 * MIB + 4096, is_filled(again, 0, 4096));
    printf("neighbours kept: %d\n", again[-1] == 7 && again[4096] == 7);
    printf("read-only: %d, readable: %d\n", mprotect(p + MIB, 4096, PROT_READ), p[MIB] == 7);
    printf("writable: %d\n", mprotect(p + MIB, 4096, PROT_READ | PROT_WRITE));
    p[MIB] = 8;
    munmap(p, 8 * MIB);
}

static void moves(void)
{
    unsigned char *p = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memset(p, 9, MIB);
    unsigned char *q = mremap(p, MIB, 4 * MIB, MREMAP_MAYMOVE);
    printf("grown keeps: %d, new part zero: %d\n", is_filled(q, 9, MIB), is_filled(q + MIB, 0, 3 * MIB));
    unsigned char *r = mremap(q, 4 * MIB, MIB / 2, 0);
    printf("shrunk in place: %d\n", r == q);
    munmap(r, MIB / 2);
}

static void breaks(void)
{
    /* Raw: musl's sbrk does nothing. */
    unsigned char *start = (unsigned char *)syscall(SYS_brk, 0);
    unsigned char *end = start + 3 * MIB;
    printf("brk grows: %d\n", (unsigned char *)syscall(SYS_brk, end) == end);
    printf("zero: %d\n", is_filled(start, 0, 3 * MIB));
    memset(start, 1, 3 * MIB);
    printf("brk refuses: %d\n", (unsigned char *)syscall(SYS_brk, 0x1000) == end);
    printf("brk shrinks: %d\n", (unsigned char *)syscall(SYS_brk, start) == start);
}

static void mistakes(void)
{
    void *odd = (void *)0x1001;
    mmap(NULL, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    printf("empty mmap: errno %d\n", errno);
    printf("odd munmap: %d", munmap(odd, 4096));
    printf(" errno %d\n", errno);
    printf("mprotect of nothing: %d", mprotect((void *)0x20000, 4096, PROT_READ));
    printf(" errno %d\n", errno);
    printf("munmap of nothing: %d\n", munmap((void *)0x20000, 4096));
}

int main(void)
{
    breaks();
    heap();
    mappings();
    moves();
    mistakes();
    return 0;
}
