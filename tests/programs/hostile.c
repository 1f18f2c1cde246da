/* Attacks the LWK, the proxy and the VMM in the way that its argument names. In fused mode a program shares the LWK's privilege,
   so it can do all that a mad LWK could; in protected mode each attempt must end as a fault of the program. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* From abi/src/layout.rs and abi/src/hypercall.rs. */
#define DIRECT_MAP 0xffff888000000000ull
#define CHANNEL (DIRECT_MAP + 0x102000)
#define MAP_LOG (DIRECT_MAP + 0x142000)
#define IMAGE (DIRECT_MAP + 0x200000)
/* The stub of the wake-up interrupt: behind two times 32 stubs of 16 bytes (lwk-guest/src/arch/trap.rs). */
#define WAKE_STUB (IMAGE + 1024)
#define PORTS 0x4d00

static void out(uint16_t port, uint32_t value)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

/* Wakes the proxy and gives it time to see what is in the ring now, which the LWK's next request would overwrite. Without a
   system call: the clock is the vDSO's. */
static void show_proxy(void)
{
    struct timespec start, now;

    out(PORTS + 4, 0);
    clock_gettime(CLOCK_MONOTONIC, &start);
    do
        clock_gettime(CLOCK_MONOTONIC, &now);
    while (now.tv_sec - start.tv_sec < 20);
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    volatile uint16_t *channel = (volatile uint16_t *)CHANNEL;

    printf("about to: %s\n", how);
    fflush(stdout);
    if (!strcmp(how, "kernel-code"))
        memset((void *)IMAGE, 0xcc, 0x80000);
    else if (!strcmp(how, "kernel-data"))
        memset((void *)(IMAGE + 0x1000), 0, 0xf000);
    else if (!strcmp(how, "deaf")) {
        /* The core takes its next interrupt with a bare `iretq` (48 cf), and no other since that one never ends. */
        *(volatile uint16_t *)WAKE_STUB = 0xcf48;
        for (;;)
            __asm__ volatile("pause");
    } else if (!strcmp(how, "ring-index")) {
        channel[1] += 7;
        show_proxy();
    } else if (!strcmp(how, "ring-head"))
        channel[2] = 5;
    else if (!strcmp(how, "descriptor-address"))
        *(volatile uint64_t *)(CHANNEL + 128) = 0x7fffffff0000;
    else if (!strcmp(how, "descriptor-length"))
        *(volatile uint32_t *)(CHANNEL + 168) = 1u << 30;
    else if (!strcmp(how, "map-log")) {
        /* Every record says: show memory far outside of the guest, or that which the arguments name, at the proxy's own addresses. */
        uint64_t address = argc > 3 ? strtoull(argv[2], NULL, 0) : 0xfffffffff000;
        uint64_t bytes = argc > 3 ? strtoull(argv[3], NULL, 0) : 0x1000;

        for (int i = 0; i < 1024; i++) {
            volatile uint64_t *record = (volatile uint64_t *)(MAP_LOG + 64 + 32 * i);
            record[0] = 0x7f0000000000;
            record[1] = bytes;
            record[2] = address;
            record[3] = 3ull << 32 | 1;
        }
        ((volatile uint32_t *)CHANNEL)[3] += 1;
        channel[1] += 1;
        show_proxy();
    } else if (!strcmp(how, "garbage")) {
        for (int i = 0; i < 4096; i++)
            ((volatile uint8_t *)CHANNEL)[i] = (uint8_t)(i * 31 + 7);
    } else if (!strcmp(how, "outside"))
        *(volatile char *)(DIRECT_MAP + (1ull << 40)) = 1;
    else if (!strcmp(how, "other-port"))
        out(0x64, 0xfe);
    else if (!strcmp(how, "unknown-channel"))
        out(PORTS, 1000);
    else if (!strcmp(how, "unknown-doorbell"))
        out(PORTS + 4, 77);
    else if (!strcmp(how, "log-length"))
        out(PORTS + 16, 0xffffffff);
    else if (!strcmp(how, "proxy-memory"))
        /* Not an attack on the LWK: a pointer to where only the proxy has memory. */
        return read(0, (void *)0x7ffffffde000, 64) != -1;
    puts("still here");
    return 0;
}
