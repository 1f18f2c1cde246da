/* Writes to stdout, ignoring SIGPIPE if told so; says on stderr what came of it. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc > 1 && !strcmp(argv[1], "ignore"))
        signal(SIGPIPE, SIG_IGN);
    ssize_t n = write(1, "hello\n", 6);
    fprintf(stderr, "write: %zd %s\n", n, n < 0 ? strerror(errno) : "");
    return n < 0 ? 3 : 0;
}
