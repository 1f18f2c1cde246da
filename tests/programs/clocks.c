/* Reads every clock in every way, checks that they agree and never run backwards, prints the time of day. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static double seconds(struct timespec t)
{
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void forwards(const char *name, clockid_t clock)
{
    struct timespec last, t;
    int backwards = 0;

    clock_gettime(clock, &last);
    for (int i = 0; i < 20000; i++) {
        clock_gettime(clock, &t);
        backwards += seconds(t) < seconds(last);
        last = t;
    }
    struct timespec raw;
    syscall(SYS_clock_gettime, clock, &raw);
    double apart = seconds(raw) - seconds(last);
    printf("%s: backwards %d, call agrees: %d\n", name, backwards, apart >= -0.01 && apart < 1);
}

int main(void)
{
    struct timeval day;
    struct timespec real, resolution;
    unsigned cpu = 1000;

    forwards("realtime", CLOCK_REALTIME);
    forwards("monotonic", CLOCK_MONOTONIC);
    forwards("boottime", CLOCK_BOOTTIME);
    forwards("monotonic raw", CLOCK_MONOTONIC_RAW);
    gettimeofday(&day, NULL);
    clock_gettime(CLOCK_REALTIME, &real);
    printf("gettimeofday agrees: %d\n", real.tv_sec - day.tv_sec <= 1);
    printf("time agrees: %d\n", time(NULL) - day.tv_sec <= 1);
    printf("resolution: %d\n", clock_getres(CLOCK_MONOTONIC, &resolution));
    printf("unknown clock: %d\n", clock_gettime(99, &real));
    syscall(SYS_getcpu, &cpu, NULL, NULL);
    printf("cpu known: %d\n", cpu < 1000);
    fprintf(stderr, "%ld\n", (long)day.tv_sec);
    return 0;
}
