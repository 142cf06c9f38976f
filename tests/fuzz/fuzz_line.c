/* The splitting of lines: arguments written back in quotes split into the same arguments. And
 * numbers: what is read, written, and read again is the same. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "resp/resp.h"

static void check_numbers(const struct resp_arg *a)
{
    long long n, again;
    double d, back;
    if (resp_to_int(a, &n)) {
        struct buf text = { 0 };
        buf_printf(&text, "%lld", n);
        struct resp_arg written = { text.data, text.len };
        if (text.len != a->len || memcmp(text.data, a->data, a->len) != 0 ||
            !resp_to_int(&written, &again) || again != n)
            abort();
        buf_release(&text);
    }
    if (resp_to_double(a, &d)) {
        char text[RESP_DOUBLE_MAX];
        struct resp_arg written = { text, resp_format_double(d, text) };
        if (isnan(d) || written.len > RESP_DOUBLE_MAX)
            abort();
        if (fpclassify(d) != FP_SUBNORMAL &&
            (!resp_to_double(&written, &back) || back != d || signbit(back) != signbit(d)))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *line = malloc(size ? size : 1);
    memcpy(line, data, size);
    struct buf store = { 0 }, quoted = { 0 }, again = { 0 };
    struct resp_arg *argv = NULL, *argv_again = NULL;
    size_t cap = 0, cap_again = 0, bytes = 0;
    long n = resp_split_line(line, size, &store, &argv, &cap);
    for (long i = 0; i < n; i++) {
        check_numbers(&argv[i]);
        bytes += argv[i].len;
        buf_puts(&quoted, i ? " \"" : "\"");
        for (size_t j = 0; j < argv[i].len; j++)
            buf_printf(&quoted, "\\x%02x", (unsigned char)argv[i].data[j]);
        buf_puts(&quoted, "\"");
    }
    if (bytes > size)
        abort();
    if (n >= 0) {
        long m = resp_split_line(quoted.data ? quoted.data : "", quoted.len, &again, &argv_again,
                                 &cap_again);
        if (m != n)
            abort();
        for (long i = 0; i < n; i++) {
            if (argv[i].len != argv_again[i].len ||
                memcmp(argv[i].data, argv_again[i].data, argv[i].len) != 0)
                abort();
        }
    }
    struct resp_arg all = { line, size };
    check_numbers(&all);
    buf_release(&store);
    buf_release(&quoted);
    buf_release(&again);
    mem_free(argv);
    mem_free(argv_again);
    free(line);
    return 0;
}
