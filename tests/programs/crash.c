/* Dies in the way that its argument names. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static volatile int zero;
static const char constant[] = "read-only data";

static volatile long deepest = 1L << 40;
static char *volatile nowhere = (char *)0x10;

static long overflow_stack(long depth)
{
    volatile char page[4096];
    page[0] = (char)depth;
    return depth < deepest ? overflow_stack(depth + 1) + page[0] : 0;
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";

    printf("about to: %s\n", how);
    fflush(stdout);
    if (!strcmp(how, "segv"))
        *nowhere = 1;
    else if (!strcmp(how, "readonly"))
        *(volatile char *)constant = 2;
    else if (!strcmp(how, "noexec"))
        ((void (*)(void))mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))();
    else if (!strcmp(how, "protected")) {
        char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *page = 1;
        mprotect(page, 4096, PROT_READ);
        *(volatile char *)page = 2;
    } else if (!strcmp(how, "unmapped")) {
        char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        *page = 1;
        munmap(page, 4096);
        *(volatile char *)page = 2;
    } else if (!strcmp(how, "stack"))
        return (int)overflow_stack(0);
    else if (!strcmp(how, "ud2"))
        __asm__ volatile("ud2");
    else if (!strcmp(how, "hlt"))
        __asm__ volatile("hlt");
    else if (!strcmp(how, "divide"))
        return 100 / zero;
    else if (!strcmp(how, "abort"))
        abort();
    else if (!strcmp(how, "raise"))
        raise(SIGUSR1);
    return 0;
}
