/* The readers of vector files: the first byte chooses the format. */
#include <stdint.h>
#include <stdio.h>

#include "benchmark/vecfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static const char *const names[] = {"x.fvecs",     "x.bvecs",     "x.ivecs",     "x.npy",
                                        "x.fvecs.zst", "x.bvecs.zst", "x.ivecs.zst", "x.npy.zst"};
    struct vecfile_limits limits = {.max_bytes = 1 << 20};
    char message[VECFILE_MESSAGE_MAX];
    struct vecfile_floats f;
    struct vecfile_ints i;
    FILE *file;

    if (len < 2)
        return 0;
    file = fmemopen((void *)(uintptr_t)(data + 1), len - 1, "rb");
    if (!file)
        return 0;
    limits.max_rows = data[0] >> 4;
    if (data[0] & 8) {
        if (vecfile_read_ints_from(file, names[data[0] & 7], &limits, &i, message) == VS_OK)
            vecfile_ints_release(&i);
    } else if (vecfile_read_floats_from(file, names[data[0] & 7], &limits, &f, message) == VS_OK) {
        vecfile_floats_release(&f);
    }
    fclose(file);
    return 0;
}
