/* Floating point, vectors and formatting; the same bits are expected wherever it runs. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define N 1024

/* glibc picks the widest at start; musl has no way to. */
#ifdef __GLIBC__
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static uint32_t mix(const uint32_t *a, uint32_t *b)
{
    uint32_t sum = 0;
    for (int i = 0; i < N; i++)
        b[i] = (a[i] * 2654435761u) ^ (a[i] >> 7);
    for (int i = 0; i < N; i++)
        sum += b[i];
    return sum;
}

int main(void)
{
    static uint32_t a[N], b[N];
    volatile double x = 0.1;
    double sum = 0;

    for (int i = 1; i < 100000; i++)
        sum += 1.0 / ((double)i * i);
    printf("%.17g %a\n", sum, sqrt(sum * 6));
    printf("%.15g %.15g %.15g\n", sin(x), exp(x), pow(x, 1.5));
    printf("%.20Lf\n", (long double)x * 3.0L);
    printf("%g %g %g\n", x / 0.0, -x / 0.0, fmod(x, 0.03));
    for (uint32_t i = 0; i < N; i++)
        a[i] = i * i + 17;
    printf("%u\n", mix(a, b));
    return 0;
}
