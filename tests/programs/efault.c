/* Gives bad pointers to calls that the kernel serves; prints each errno. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* Where no pointer is; volatile, or the compiler objects. */
static char *volatile null;
static const char constant[64] = "read-only data of the program";

static void report(const char *what, long result)
{
    int error = errno;
    printf("%s: %ld %s\n", what, result, result < 0 ? strerror(error) : "");
}

int main(void)
{
    int zero = open("/dev/zero", O_RDWR);
    int file = open("scratch", O_RDWR | O_CREAT | O_TRUNC, 0600);
    char *page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    memset(page, 'x', 3 * 4096);
    mprotect(page + 4096, 4096, PROT_READ);
    munmap(page + 2 * 4096, 4096);
    report("read into a read-only page", read(zero, page + 4096, 1));
    report("write from a read-only page", write(file, page + 4096, 10));
    report("read into constants", read(zero, (char *)constant, 1));
    report("read up to a read-only page", read(zero, page, 4096));
    report("write from an unmapped page", write(file, page + 2 * 4096, 1));
    report("write across into an unmapped page", write(file, page + 2 * 4096 - 5, 10) > 0 ? 5 : -1);
    report("read to address 0", read(zero, null, 1));
    report("read to a kernel address", read(zero, (char *)0xffffffff80000000UL, 1));
    report("read to a high user address", read(zero, (char *)0x7ff000000000UL, 1));
    report("open an unmapped path", open(page + 2 * 4096, O_RDONLY));
    report("stat into a read-only page", syscall(SYS_stat, "/", page + 4096));
    mprotect(page, 4096, PROT_NONE);
    report("write from a PROT_NONE page", write(file, page, 1));
    struct iovec parts[2] = { { page + 4096, 4 }, { page + 2 * 4096, 4 } };
    report("writev with one bad part", writev(file, parts, 2) == 4 ? 4 : -1);
    report("read a bad descriptor", read(1000, page + 4096, 1));
    report("the file's size", lseek(file, 0, SEEK_END));
    return 0;
}
