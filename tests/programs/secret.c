/* Looks through all memory that an LWK shows to a program in fused mode, for a secret: eight words that follow from a number, so
   that the program need not hold them to know them.

   plant SEED               has the secret in its memory until its stdin ends
   scan SEED OWN BYTES      plants OWN, then counts both secrets in the direct map, which has that many bytes */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* From abi/src/layout.rs. */
#define DIRECT_MAP 0xffff888000000000ull
#define WORDS 8
#define COPIES 4096

static inline uint64_t word(uint64_t seed, unsigned i)
{
    uint64_t x = (seed + i + 1) * 0x9e3779b97f4a7c15ull;

    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
    return x ^ x >> 27;
}

static uint64_t *plant(uint64_t seed)
{
    uint64_t *memory = malloc(COPIES * WORDS * sizeof *memory);

    for (unsigned i = 0; memory && i < COPIES * WORDS; i++)
        ((volatile uint64_t *)memory)[i] = word(seed, i % WORDS);
    return memory;
}

static unsigned count(uint64_t seed, uint64_t bytes)
{
    const uint64_t *at = (const uint64_t *)DIRECT_MAP, *end = at + bytes / sizeof *at - WORDS;
    const uint64_t first = word(seed, 0);
    unsigned found = 0;

    for (; at < end; at++) {
        unsigned i = 0;

        if (*at != first)
            continue;
        while (i < WORDS && at[i] == word(seed, i))
            i++;
        found += i == WORDS;
    }
    return found;
}

int main(int argc, char **argv)
{
    const char *how = argc > 2 ? argv[1] : "";
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : 0;

    if (!strcmp(how, "plant") && plant(seed)) {
        char byte;

        puts("planted");
        fflush(stdout);
        while (read(0, &byte, 1) > 0)
            ;
        return 0;
    }
    if (!strcmp(how, "scan") && argc > 4) {
        uint64_t own = strtoull(argv[3], NULL, 0), bytes = strtoull(argv[4], NULL, 0);

        if (!plant(own))
            return 1;
        printf("own %s, other %u\n", count(own, bytes) == COPIES ? "found" : "not found", count(seed, bytes));
        return 0;
    }
    return 2;
}
