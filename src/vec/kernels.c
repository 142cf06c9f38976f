/* The choice of a kernel set. */
#include "vec/kernels_impl.h"

#include <stdatomic.h>
#include <stdlib.h>

#ifdef __x86_64__
#include <cpuid.h>
#endif
#ifdef __aarch64__
#include <sys/auxv.h>

#include <asm/hwcap.h>
#endif

static const struct vec_kernels *const sets[] = {
#ifdef __x86_64__
    &vec_kernels_avx512vnni,
    &vec_kernels_avx2,
#endif
#ifdef __aarch64__
    &vec_kernels_neondot,
    &vec_kernels_neon,
#endif
    &vec_kernels_scalar,
};

#define SETS (sizeof(sets) / sizeof(*sets))

const struct vec_kernels *vec_kernels_at(size_t i)
{
    return i < SETS ? sets[i] : NULL;
}

#ifdef __x86_64__
static int has_avx2_f16c(void)
{
    unsigned a, b, c, d;
    /* Not every compiler's __builtin_cpu_supports knows f16c. That the system saves the registers, avx2 implies. */
    return __builtin_cpu_supports("avx2") && __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

int vec_kernels_usable(const struct vec_kernels *k)
{
#ifdef __x86_64__
    __builtin_cpu_init();
    if (k == &vec_kernels_avx512vnni)
        return has_avx2_f16c() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
    if (k == &vec_kernels_avx2)
        return has_avx2_f16c();
#endif
#ifdef __aarch64__
    if (k == &vec_kernels_neondot)
        return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
    if (k == &vec_kernels_neon)
        return 1;
#endif
    return k == &vec_kernels_scalar;
}

static const struct vec_kernels *choose(void)
{
    const char *name = getenv("VECSTORE_KERNELS");
    for (size_t i = 0; name && i < SETS; i++)
        if (strcmp(sets[i]->name, name) == 0 && vec_kernels_usable(sets[i]))
            return sets[i];
    size_t i = 0;
    while (!vec_kernels_usable(sets[i]))
        i++;
    return sets[i];
}

const struct vec_kernels *vec_kernels(void)
{
    static _Atomic(const struct vec_kernels *) chosen;
    const struct vec_kernels *k = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (!k) {
        /* Two threads may both choose; they choose the same. */
        k = choose();
        atomic_store_explicit(&chosen, k, memory_order_relaxed);
    }
    return k;
}
