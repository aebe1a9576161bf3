/* The reference of benchmarks/speed.py: Lorenz96 by classical Runge-Kutta steps, 32 members side by side.
 *
 * A block of 32 members is transposed so that every operation acts on 32 neighbouring numbers, and transposed back
 * after the last step. Rows 0, 1 and n + 2 of a padded array repeat the ring beyond its ends.
 *
 *     gcc -O3 -march=native -ffast-math -shared -fPIC lorenz96.c -o lorenz96.so
 */

#include <stdlib.h>

#define LANES 32

typedef double row[LANES];

static void wrap(row *restrict p, long n)
{
    for (int l = 0; l < LANES; l++) {
        p[0][l] = p[n][l];
        p[1][l] = p[n + 1][l];
        p[n + 2][l] = p[2][l];
    }
}

/* total += b k and next = x + c k, with k the tendency of the stage p; the first stage starts the total at x. */
static void stage(const row *restrict p, const row *restrict x, row *restrict total, row *restrict next, long n,
                  double forcing, double b, double c, int first)
{
    for (long i = 0; i < n; i++)
        for (int l = 0; l < LANES; l++) {
            double k = (p[i + 3][l] - p[i][l]) * p[i + 1][l] - p[i + 2][l] + forcing;
            total[i][l] = (first ? x[i][l] : total[i][l]) + b * k;
            next[i + 2][l] = x[i][l] + c * k;
        }
}

static void final_stage(const row *restrict p, const row *restrict total, row *restrict x, long n, double forcing,
                        double b)
{
    for (long i = 0; i < n; i++)
        for (int l = 0; l < LANES; l++)
            x[i][l] = total[i][l] + b * ((p[i + 3][l] - p[i][l]) * p[i + 1][l] - p[i + 2][l] + forcing);
}

static void step(row *restrict x, row *restrict p, row *restrict q, row *restrict total, long n, double forcing,
                 double dt)
{
    for (long i = 0; i < n; i++)
        for (int l = 0; l < LANES; l++)
            p[i + 2][l] = x[i][l];
    wrap(p, n);
    stage(p, x, total, q, n, forcing, dt / 6, dt / 2, 1);
    wrap(q, n);
    stage(q, x, total, p, n, forcing, dt / 3, dt / 2, 0);
    wrap(p, n);
    stage(p, x, total, q, n, forcing, dt / 3, dt, 0);
    wrap(q, n);
    final_stage(q, total, x, n, forcing, dt / 6);
}

/* Advance the rows of E (members, n) by `steps` steps into `out`; members must be a multiple of 32. */
void advance(const double *restrict E, double *restrict out, long members, long n, long steps, double dt,
             double forcing)
{
    row *work = aligned_alloc(64, (4 * n + 6) * sizeof(row));
    row *x = work, *total = x + n, *p = total + n, *q = p + n + 3;
    for (long m = 0; m < members; m += LANES) {
        for (long i = 0; i < n; i++)
            for (int l = 0; l < LANES; l++)
                x[i][l] = E[(m + l) * n + i];
        for (long s = 0; s < steps; s++)
            step(x, p, q, total, n, forcing, dt);
        for (int l = 0; l < LANES; l++)
            for (long i = 0; i < n; i++)
                out[(m + l) * n + i] = x[i][l];
    }
    free(work);
}
