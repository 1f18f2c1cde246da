/* Waits in the way that its argument names. Says "ready" first, so that a test knows when. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int read_to_end(void)
{
    char buffer[4096];
    long total = 0;
    ssize_t n;
    while ((n = read(0, buffer, sizeof buffer)) > 0)
        total += n;
    printf("read %ld bytes, then %s\n", total, n ? strerror(errno) : "the end");
    return 0;
}

int main(int argc, char **argv)
{
    const char *how = argc > 1 ? argv[1] : "";
    double start = now();

    if (!strcmp(how, "ignore"))
        signal(SIGTERM, SIG_IGN);
    puts("ready");
    fflush(stdout);
    if (!strcmp(how, "read") || !strcmp(how, "ignore"))
        return read_to_end();
    if (!strcmp(how, "spin"))
        for (volatile unsigned long i = 0;; i++)
            ;
    if (!strcmp(how, "poll")) {
        struct pollfd in = { 0, POLLIN, 0 };
        printf("poll: %d\n", poll(&in, 1, 300));
    } else if (!strcmp(how, "sleep")) {
        struct timespec t = { 0, 300000000 };
        printf("nanosleep: %d\n", nanosleep(&t, NULL));
    }
    double waited = now() - start;
    printf("%s\n", waited < 0.299 ? "too short" : waited > 10 ? "too long" : "in time");
    return 0;
}
