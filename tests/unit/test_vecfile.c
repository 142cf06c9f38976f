/* tsan: skip (one thread) */
/* The readers of vector files and the generator: every format, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/mem.h"
#include "base/rng.h"
#include "benchmark/generate.h"
#include "benchmark/truth.h"
#include "benchmark/vecfile.h"

static char message[VECFILE_MESSAGE_MAX];

static enum vs_status read_floats(const char *name, const void *data, size_t len, size_t max_bytes,
                                  struct vecfile_floats *out)
{
    /* fmemopen refuses an empty buffer. */
    FILE *file = len ? fmemopen((void *)(uintptr_t)data, len, "rb") : fopen("/dev/null", "rb");
    enum vs_status status;

    assert_non_null(file);
    memset(message, 0, sizeof message);
    status = vecfile_read_floats_from(file, name, &(struct vecfile_limits){.max_bytes = max_bytes},
                                      out, message);
    fclose(file);
    return status;
}

static void refused(const char *name, const void *data, size_t len, enum vs_status wanted,
                    const char *reason)
{
    struct vecfile_floats m = {.rows = 77};
    enum vs_status status = read_floats(name, data, len, 1 << 20, &m);

    if (status != wanted || !strstr(message, reason) || !strstr(message, name))
        fail_msg("%s: status %d (%s), wanted %d and '%s'", name, status, message, wanted, reason);
    assert_int_equal(m.rows, 77);
}

static void put32(struct buf *b, int32_t value)
{
    buf_append(b, &value, 4);
}

static void test_texmex(void **state)
{
    struct buf f = {0}, b = {0}, i = {0};
    struct vecfile_floats m;

    (void)state;
    for (int row = 0; row < 3; row++) {
        put32(&f, 5);
        put32(&b, 5);
        put32(&i, 5);
        for (int j = 0; j < 5; j++) {
            float x = (float)(row * 10 + j) - 0.5f;

            buf_append(&f, &x, 4);
            buf_append(&b, &(uint8_t){(uint8_t)(200 + row * 10 + j)}, 1);
            put32(&i, -(row * 100000 + j));
        }
    }
    assert_int_equal(read_floats("x.fvecs", f.data, f.len, 0, &m), VS_OK);
    assert_int_equal(m.rows, 3);
    assert_int_equal(m.cols, 5);
    for (int k = 0; k < 15; k++)
        assert_true(m.data[k] == (float)(k / 5 * 10 + k % 5) - 0.5f);
    vecfile_floats_release(&m);
    assert_int_equal(read_floats("x.bvecs", b.data, b.len, 0, &m), VS_OK);
    for (int k = 0; k < 15; k++)
        assert_true(m.data[k] == (float)(200 + k / 5 * 10 + k % 5));
    vecfile_floats_release(&m);
    assert_int_equal(read_floats("x.IVECS", i.data, i.len, 0, &m), VS_OK);
    assert_true(m.data[14] == -200004.0f);
    vecfile_floats_release(&m);
    buf_release(&f);
    buf_release(&b);
    buf_release(&i);
}

static void npy(struct buf *out, unsigned version, const char *header, const void *data, size_t len)
{
    unsigned char fixed[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0};
    size_t n = strlen(header);

    fixed[8] = (unsigned char)n;
    fixed[9] = (unsigned char)(n >> 8);
    buf_reset(out);
    buf_append(out, fixed, version == 1 ? 10 : 12);
    buf_puts(out, header);
    buf_append(out, data, len);
}

static void test_npy(void **state)
{
    static const float f4[] = {1.5f, -2, 3, 4};
    static const uint16_t f2[] = {0x3C00, 0xC000, 0x0001, 0x7BFF};
    static const int8_t i1[] = {-128, 127, 0, 1};
    static const int32_t i4[] = {1, -70000, 3, 4};
    struct buf b = {0};
    struct vecfile_floats m;

    (void)state;
    npy(&b, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }          \n", f4,
        sizeof f4);
    assert_int_equal(read_floats("x.npy", b.data, b.len, 0, &m), VS_OK);
    assert_memory_equal(m.data, f4, sizeof f4);
    vecfile_floats_release(&m);
    npy(&b, 2, "{\"shape\":(1,4,),\"fortran_order\":False,\"descr\":\"<f2\"}", f2, sizeof f2);
    assert_int_equal(read_floats("x.npy", b.data, b.len, 0, &m), VS_OK);
    assert_int_equal(m.cols, 4);
    assert_true(m.data[0] == 1 && m.data[1] == -2 && m.data[2] == 0x1p-24f && m.data[3] == 65504);
    vecfile_floats_release(&m);
    npy(&b, 3, "{'descr': '|i1', 'fortran_order': False, 'shape': (4, 1)}", i1, sizeof i1);
    assert_int_equal(read_floats("x.npy", b.data, b.len, 0, &m), VS_OK);
    assert_int_equal(m.rows, 4);
    assert_true(m.data[0] == -128 && m.data[1] == 127);
    vecfile_floats_release(&m);
    npy(&b, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (4, 1)}", i1, sizeof i1);
    assert_int_equal(read_floats("x.npy", b.data, b.len, 0, &m), VS_OK);
    assert_true(m.data[0] == 128);
    vecfile_floats_release(&m);
    npy(&b, 1, "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 2)}", i4, sizeof i4);
    assert_int_equal(read_floats("x.npy", b.data, b.len, 0, &m), VS_OK);
    assert_true(m.data[1] == -70000);
    vecfile_floats_release(&m);
    buf_release(&b);
}

static void test_npy_refused(void **state)
{
    static const struct {
        const char *header, *reason;
    } cases[] = {
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (1, 1)}", "element type"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1, 1)}", "element type"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1)}", "Fortran"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", "one dimension"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1, 1)}", "more than two"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 4)}", "matrix of 0 rows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 0)}", "0 columns"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (4, 65537)}", "columns"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999, 4)}", "tuple"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 4)}", "accepted"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4)}", "ends within"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}", "tuple"},
        {"{'descr': '<f4', 'fortran_order': False}", "lacks"},
        {"{'descr': '<f4', 'descr': '<f4'}", "twice"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)", "does not end"},
        {"['descr']", "dictionary"},
        {"{'descr", "quoted"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 1)}", "follow"},
    };
    static const float data[] = {1, 2};
    struct buf b = {0};

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        npy(&b, 1, cases[i].header, data, sizeof data);
        refused("x.npy", b.data, b.len, VS_CORRUPT, cases[i].reason);
    }
    npy(&b, 4, "{}", data, sizeof data);
    refused("x.npy", b.data, b.len, VS_CORRUPT, "version");
    refused("x.npy", "NUMPYNUMPYNUMPY", 15, VS_CORRUPT, "magic");
    refused("x.npy", "", 0, VS_CORRUPT, "ends within");
    buf_release(&b);
}

static void test_texmex_refused(void **state)
{
    struct buf b = {0};
    float nan = NAN;

    (void)state;
    refused("x.fvecs", "", 0, VS_CORRUPT, "no vectors");
    refused("x.txt", "a", 1, VS_INVALID, "does not end in");
    put32(&b, 2);
    put32(&b, 0);
    put32(&b, 0);
    for (size_t cut = 1; cut < b.len; cut++)
        refused("x.fvecs", b.data, cut, VS_CORRUPT, "ends within");
    put32(&b, 3);
    refused("x.fvecs", b.data, b.len, VS_CORRUPT,
            "byte 12: row 1 has 3 components, the rows before it 2");
    buf_reset(&b);
    put32(&b, 0);
    refused("x.ivecs", b.data, b.len, VS_CORRUPT, "row 0 has 0 components");
    buf_reset(&b);
    put32(&b, -5);
    refused("x.bvecs", b.data, b.len, VS_CORRUPT, "-5 components");
    buf_reset(&b);
    put32(&b, 65537);
    refused("x.bvecs", b.data, b.len, VS_CORRUPT, "65537 components");
    buf_reset(&b);
    put32(&b, 2);
    put32(&b, 0);
    buf_append(&b, &nan, 4);
    refused("x.fvecs", b.data, b.len, VS_NONFINITE, "byte 8: row 0, component 1");
    buf_release(&b);
}

static void compress(struct buf *out, const void *data, size_t len)
{
    size_t n;

    buf_reset(out);
    buf_reserve(out, ZSTD_compressBound(len));
    n = ZSTD_compress(out->data, out->cap, data, len, 3);
    assert_false(ZSTD_isError(n));
    out->len = n;
}

static void test_zstd(void **state)
{
    enum { ROWS = 5000, DIM = 64 };
    struct buf plain = {0}, packed = {0};
    struct rng rng = {42};
    struct vecfile_floats m;

    (void)state;
    for (int i = 0; i < ROWS; i++) {
        put32(&plain, DIM);
        for (int j = 0; j < DIM; j++)
            buf_append(&plain, &(uint8_t){(uint8_t)rng_next(&rng)}, 1);
    }
    compress(&packed, plain.data, plain.len);
    assert_int_equal(read_floats("x.bvecs.zst", packed.data, packed.len, 0, &m), VS_OK);
    assert_int_equal(m.rows, ROWS);
    for (size_t i = 0; i < ROWS; i++)
        for (size_t j = 0; j < DIM; j++)
            assert_true(m.data[i * DIM + j] == (float)(uint8_t)plain.data[i * (DIM + 4) + 4 + j]);
    vecfile_floats_release(&m);
    for (size_t cut = 1; cut < packed.len; cut += packed.len / 13)
        refused("x.bvecs.zst", packed.data, cut, VS_CORRUPT, "middle of a frame");
    packed.data[packed.len / 2] ^= 0x55;
    packed.data[4] ^= 0x10;
    assert_int_not_equal(read_floats("x.bvecs.zst", packed.data, packed.len, 1 << 20, &m), VS_OK);
    refused("x.bvecs.zst", "not compressed at all", 21, VS_CORRUPT, "");
    refused("x.bvecs.zst", "", 0, VS_CORRUPT, "no vectors");
    buf_release(&plain);
    buf_release(&packed);
}

/* Few bytes that decode to many: stopped at the limit, not at the end of memory. */
static void test_bomb(void **state)
{
    struct buf plain = {0}, packed = {0};

    (void)state;
    buf_reserve(&plain, 64 << 20);
    for (int i = 0; i < (64 << 20) / 1028; i++) {
        put32(&plain, 1024);
        memset(plain.data + plain.len, 0, 1024);
        plain.len += 1024;
    }
    compress(&packed, plain.data, plain.len);
    assert_true(packed.len < 64 << 10);
    refused("x.bvecs.zst", packed.data, packed.len, VS_LIMIT, "more than the 1048576 bytes");
    buf_release(&plain);
    buf_release(&packed);
}

static void test_write_and_read(void **state)
{
    static const float x[] = {1, 2, 3, 4.25f, -5, 6};
    static const int32_t w[] = {1, -2, 3, 4, 5, 1 << 30};
    char path[] = "/tmp/vecfile-XXXXXX.fvecs", other[] = "/tmp/vecfile-XXXXXX.ivecs";
    struct vecfile_floats m;
    struct vecfile_ints n;
    int fd = mkstemps(path, 6), fd2 = mkstemps(other, 6);

    (void)state;
    assert_true(fd >= 0 && fd2 >= 0);
    close(fd);
    close(fd2);
    assert_int_equal(vecfile_write_fvecs(path, x, 2, 3, message), VS_OK);
    assert_int_equal(vecfile_read_floats(path, NULL, &m, message), VS_OK);
    assert_memory_equal(m.data, x, sizeof x);
    vecfile_floats_release(&m);
    assert_int_equal(
        vecfile_read_floats(path, &(struct vecfile_limits){.max_rows = 1}, &m, message), VS_OK);
    assert_int_equal(m.rows, 1);
    vecfile_floats_release(&m);
    assert_int_equal(vecfile_read_ints(path, NULL, &n, message), VS_INVALID);
    assert_int_equal(vecfile_write_ivecs(other, w, 3, 2, message), VS_OK);
    assert_int_equal(vecfile_read_ints(other, NULL, &n, message), VS_OK);
    assert_memory_equal(n.data, w, sizeof w);
    vecfile_ints_release(&n);
    unlink(path);
    unlink(other);
    assert_int_equal(vecfile_read_floats(path, NULL, &m, message), VS_IO);
    assert_non_null(strstr(message, "No such file"));
    assert_int_equal(vecfile_write_fvecs("/nowhere/at/all.fvecs", x, 2, 3, message), VS_IO);
}

static void test_generator(void **state)
{
    enum { ROWS = 1000, DIM = 50 };
    struct generate_options o;
    struct generate_model *model, *again;
    float *whole = mem_alloc(ROWS * DIM * sizeof *whole),
          *part = mem_alloc(ROWS * DIM * sizeof *part);

    (void)state;
    generate_defaults(DIM, true, &o);
    model = generate_model_new(&o);
    again = generate_model_new(&o);
    assert_non_null(model);
    generate_rows_parallel(model, GENERATE_BASE, 0, ROWS, 4, whole);
    generate_rows(again, GENERATE_BASE, 0, ROWS, part);
    assert_memory_equal(whole, part, ROWS * DIM * sizeof *whole);
    /* A range on its own is the same as within the whole; another stream, and another seed, are
     * not. */
    generate_rows(model, GENERATE_BASE, 700, 10, part);
    assert_memory_equal(whole + 700 * DIM, part, 10 * DIM * sizeof *whole);
    generate_rows(model, GENERATE_QUERY, 700, 10, part);
    assert_memory_not_equal(whole + 700 * DIM, part, 10 * DIM * sizeof *whole);
    for (int i = 0; i < ROWS; i++) {
        double sum = 0;

        for (int j = 0; j < DIM; j++)
            sum += (double)whole[i * DIM + j] * (double)whole[i * DIM + j];
        assert_true(fabs(sum - 1) < 1e-5);
    }
    generate_model_free(again);
    o.seed = 2;
    again = generate_model_new(&o);
    generate_rows(again, GENERATE_BASE, 700, 10, part);
    assert_memory_not_equal(whole + 700 * DIM, part, 10 * DIM * sizeof *whole);
    o.intrinsic = 0;
    assert_null(generate_model_new(&o));
    generate_model_free(model);
    generate_model_free(again);
    mem_free(whole);
    mem_free(part);
}

static void test_truth(void **state)
{
    enum { ROWS = 300, QUERIES = 20, DIM = 19, K = 7 };
    struct rng rng = {7};
    float base[ROWS * DIM], query[QUERIES * DIM];
    struct vecfile_floats b = {ROWS, DIM, base}, q = {QUERIES, DIM, query};

    (void)state;
    for (int i = 0; i < ROWS * DIM; i++)
        base[i] = (float)rng_unit(&rng) - 0.4f;
    for (int i = 0; i < QUERIES * DIM; i++)
        query[i] = (float)rng_unit(&rng) - 0.4f;
    for (enum vec_metric metric = VEC_COSINE; metric < VEC_METRICS; metric++) {
        struct vecfile_ints t;

        assert_int_equal(truth_compute(&b, &q, metric, K, 3, &t), VS_OK);
        for (int i = 0; i < QUERIES; i++) {
            double last = -1e30;

            for (int j = 0; j < K; j++) {
                double dot = 0, l2 = 0, length = 0, d;
                const float *x = base + t.data[i * K + j] * DIM;

                for (int c = 0; c < DIM; c++) {
                    dot += (double)x[c] * (double)query[i * DIM + c];
                    length += (double)x[c] * (double)x[c];
                    l2 += ((double)x[c] - (double)query[i * DIM + c]) *
                          ((double)x[c] - (double)query[i * DIM + c]);
                }
                d = metric == VEC_L2 ? l2 : metric == VEC_IP ? -dot : -dot / sqrt(length);
                assert_true(d > last - 1e-6);
                last = d;
            }
            assert_int_equal(truth_hits(&t, (size_t)i, 3, t.data + i * K, K), 3);
        }
        vecfile_ints_release(&t);
        assert_int_equal(truth_compute(&b, &q, metric, ROWS + 5, 1, &t), VS_OK);
        assert_int_equal(t.cols, ROWS);
        vecfile_ints_release(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texmex),
        cmocka_unit_test(test_texmex_refused),
        cmocka_unit_test(test_npy),
        cmocka_unit_test(test_npy_refused),
        cmocka_unit_test(test_zstd),
        cmocka_unit_test(test_bomb),
        cmocka_unit_test(test_write_and_read),
        cmocka_unit_test(test_generator),
        cmocka_unit_test(test_truth),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
