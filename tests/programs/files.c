/* Makes, changes, lists and removes files in its working directory. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path)
{
    char *names[64];
    int count = 0;
    DIR *dir = opendir(path);
    struct dirent *entry;

    while ((entry = readdir(dir)) && count < 64)
        names[count++] = strdup(entry->d_name);
    closedir(dir);
    qsort(names, (size_t)count, sizeof *names, by_name);
    for (int i = 0; i < count; i++) {
        struct stat s;
        char full[600];
        snprintf(full, sizeof full, "%s/%s", path, names[i]);
        lstat(full, &s);
        if (names[i][0] != '.')
            printf("  %06o %5ld %s\n", s.st_mode, S_ISDIR(s.st_mode) ? 0L : (long)s.st_size, full);
    }
}

int main(void)
{
    umask(027);
    mkdir("folder", 0777);
    int fd = open("folder/a", O_RDWR | O_CREAT | O_EXCL, 0666);
    struct iovec parts[3] = { { "one ", 4 }, { "two ", 4 }, { "three\n", 6 } };
    printf("writev %zd\n", writev(fd, parts, 3));
    printf("pwrite %zd\n", pwrite(fd, "TWO", 3, 4));
    char text[32] = "";
    printf("pread %zd \"%s\"\n", pread(fd, text, 12, 4), text);
    printf("lseek %ld\n", (long)lseek(fd, 5000, SEEK_SET));
    printf("write past the end %zd\n", write(fd, "end", 3));
    printf("again exclusively: %d", open("folder/a", O_CREAT | O_EXCL, 0666));
    printf(" %s\n", strerror(errno));
    printf("link %d, symlink %d\n", link("folder/a", "folder/b"), symlink("folder/a", "link"));
    printf("rename %d\n", rename("folder/b", "c"));
    printf("truncate %d\n", truncate("c", 100));
    printf("readlink %zd\n", readlink("link", text, sizeof text));
    printf("chmod %d, fchmod %d\n", chmod("folder", 0750), fchmod(fd, 0604));
    printf("unlink nothing: %d", unlink("nothing"));
    printf(" %s\n", strerror(errno));
    printf("open a folder for writing: %d", open("folder", O_WRONLY));
    printf(" %s\n", strerror(errno));
    int other = dup2(fd, 50);
    printf("dup2 %d, fcntl %d\n", other, fcntl(50, F_GETFL) & O_ACCMODE);
    int ends[2];
    printf("pipe %d\n", pipe(ends));
    printf("write %zd\n", write(ends[1], "hello", 5));
    printf("read %zd\n", read(ends[0], text, 32));
    printf("chdir %d\n", chdir("folder"));
    fclose(fopen("made-below", "w"));
    list("..");
    list(".");
    FILE *full = fopen("/dev/full", "w");
    fputs("no room", full);
    printf("full disk: %d", fclose(full));
    printf(" %s\n", strerror(errno));
    return 0;
}
