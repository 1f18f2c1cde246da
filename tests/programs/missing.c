/* Asks for what this version of the LWK does not have; prints the errno each time. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <unistd.h>

static void *nothing(void *p)
{
    return p;
}

static void report(const char *what, long result)
{
    printf("%s: %ld %s\n", what, result, strerror(errno));
}

int main(void)
{
    pthread_t thread;

    printf("thread: %s\n", pthread_create(&thread, NULL, nothing, NULL) ? "refused" : "made");
    report("fork", syscall(SYS_fork));
    report("execve", execl("/bin/true", "true", (char *)NULL));
    report("ptrace", syscall(SYS_ptrace, PTRACE_TRACEME, 0, 0, 0));
    report("iopl", syscall(SYS_iopl, 3));
    return 0;
}
