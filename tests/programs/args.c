/* Shows what a program is born with: arguments, environment, working directory, auxiliary vector. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

extern char **environ;

int main(int argc, char **argv)
{
    char cwd[4096];
    static int initialised = 42;
    static int zeroed[1 << 16];

    for (int i = 0; i < argc; i++)
        printf("argv[%d] = \"%s\"\n", i, argv[i]);
    for (char **e = environ; *e; e++)
        printf("environ: %s\n", *e);
    printf("cwd %s\n", getcwd(cwd, sizeof cwd) ? cwd : "?");
    printf("page size %lu, clock ticks %lu\n", getauxval(AT_PAGESZ), getauxval(AT_CLKTCK));
    printf("ids %lu %lu %lu %lu, secure %lu\n", getauxval(AT_UID), getauxval(AT_EUID), getauxval(AT_GID),
           getauxval(AT_EGID), getauxval(AT_SECURE));
    printf("executed as %s\n", (const char *)getauxval(AT_EXECFN));
    printf("random bytes %s\n", getauxval(AT_RANDOM) ? "given" : "missing");
    printf("vdso %s\n", getauxval(AT_SYSINFO_EHDR) ? "given" : "missing");
    printf("stack aligned by %d\n", (int)((uintptr_t)__builtin_frame_address(0) % 16));
    int sum = 0;
    for (unsigned i = 0; i < sizeof zeroed / sizeof *zeroed; i++)
        sum |= zeroed[i];
    printf("data %d, bss %d\n", initialised, sum);
    return argc - 1;
}
