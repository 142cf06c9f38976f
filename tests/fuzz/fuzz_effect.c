/* Commands of a journal: whatever is understood is written again as the same bytes, so that nothing is
 * taken that was not written so; and effects made of the input come back as they were. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "persist/effect.h"

static const struct resp_limits limits = {.bulk_max = 1u << 20, .inline_max = 64,
                                          .args_max = EFFECT_ARGS_MAX};

static void parse_commands(const char *data, size_t size)
{
    struct resp_reader r = {0};
    struct effect_scratch x = {0};
    struct buf again = {0}, why = {0};
    unsigned db = 0;
    size_t at = 0, used;
    while (at < size && data[at] == '*' &&
           resp_read(&r, data + at, size - at, &limits, true, &used) == RESP_COMMAND) {
        struct vs_effect e;
        why.len = again.len = 0;
        enum vs_status status = effect_parse(r.argv, r.argc, 16, &db, &x, &e, &why);
        at += used;
        if (status == VS_CORRUPT ? !why.len : status != VS_OK && status != VS_NOTFOUND)
            abort();
        if (db >= 16)
            abort();
        if (status != VS_OK)
            continue;
        effect_encode(&e, &again);
        if (again.len > effect_size(&e))
            abort();
        /* The reader is lax about headers ("$03"), so the arguments are compared, not the bytes. */
        struct resp_reader second = {0};
        if (resp_read(&second, again.data, again.len, &limits, true, &used) != RESP_COMMAND ||
            used != again.len || second.argc != r.argc)
            abort();
        for (size_t i = 0; i < r.argc; i++)
            if (second.argv[i].len != r.argv[i].len ||
                memcmp(second.argv[i].data, r.argv[i].data, r.argv[i].len) != 0)
                abort();
        resp_reader_release(&second);
    }
    resp_reader_release(&r);
    effect_scratch_release(&x);
    buf_release(&again);
    buf_release(&why);
}

/* The input split at zeros into arguments of one command. */
static void parse_words(const char *data, size_t size)
{
    struct resp_arg argv[EFFECT_ARGS_MAX];
    struct effect_scratch x = {0};
    struct vs_effect e;
    unsigned db = 3;
    size_t argc = 0;
    for (size_t at = 0; at < size && argc < EFFECT_ARGS_MAX; argc++) {
        const char *end = memchr(data + at, 0, size - at);
        size_t len = end ? (size_t)(end - data) - at : size - at;
        argv[argc] = (struct resp_arg){data + at, len};
        at += len + 1;
    }
    effect_parse(argv, argc, 16, &db, &x, &e, NULL);
    effect_scratch_release(&x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_commands((const char *)data, size);
    parse_words((const char *)data, size);
    return 0;
}
