/* Takes memory until there is none, gives it back, and takes some again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK (8UL << 20)

int main(void)
{
    static char *block[1 << 16];
    int count = 0;

    while (count < 1 << 16 && (block[count] = malloc(BLOCK))) {
        memset(block[count], count, BLOCK);
        count++;
    }
    int error = errno;
    for (int i = 0; i < count; i++) {
        if (block[i][BLOCK - 1] != (char)i)
            return 1;
        free(block[i]);
    }
    printf("%s\n", strerror(error));
    char *again = malloc(BLOCK);
    printf("then there is memory again: %d\n", again != NULL);
    fprintf(stderr, "%lu MiB\n", count * (BLOCK >> 20));
    return 0;
}
