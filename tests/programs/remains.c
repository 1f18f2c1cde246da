/* Takes all memory that it can get, and fills it, or looks whether it is zero: what an earlier program left must not be seen.

   fill | check */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PATTERN 0x5ec2e75ec2e75ec2ull
#define BRK (256 << 10)
/* Of the stack, below what start-up code may have used and above its end. */
#define STACK_TOP (128 << 10)
#define STACK_BYTES (1 << 20)

static int filling;
static uint64_t bss[8192];

/* Words that were not zero. */
static unsigned long use(volatile uint64_t *words, size_t bytes)
{
    unsigned long used = 0;

    for (size_t i = 0; i < bytes / sizeof *words; i++) {
        used += words[i] != 0;
        if (filling)
            words[i] = PATTERN;
    }
    return used;
}

int main(int argc, char **argv)
{
    uintptr_t stack = (uintptr_t)__builtin_frame_address(0) & ~4095ul;
    unsigned long got = 0, used;
    void *heap;

    filling = argc > 1 && !strcmp(argv[1], "fill");
    used = use(bss, sizeof bss);
    used += use((volatile uint64_t *)(stack - STACK_TOP - STACK_BYTES), STACK_BYTES);
    heap = sbrk(BRK);
    if (heap == (void *)-1)
        return 1;
    used += use(heap, BRK);
    for (size_t bytes = 64 << 20; bytes >= 4096; bytes /= 2) {
        void *memory;

        while ((memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED) {
            used += use(memory, bytes);
            got += bytes;
        }
    }
    printf("%s, %lu words used before\n", got >> 20 >= 40 ? "much memory" : "little memory", used);
    return 0;
}
