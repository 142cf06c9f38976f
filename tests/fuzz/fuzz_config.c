/* The configuration file: any bytes are read or refused with a reason, and what was read, written
 * as lines and read again is the same. The first line, as words, goes through CONFIG GET and CONFIG
 * SET as well. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "config/config.h"
#include "config/config_int.h"

static void ignore_value(void *arg, const char *name, const char *value, size_t len)
{
    (void)value;
    *(size_t *)arg += strlen(name) + len;
}

/* What `c` holds, as a file, gives `c` again. */
static void check_lines(const struct config *c)
{
    struct buf text = { 0 }, error = { 0 };
    struct config *again = config_new();
    for (size_t i = 0; i < config_table_size; i++)
        config_value_lines(&config_table[i], config_field(c, &config_table[i]), &text);
    if (!config_load_text(again, "again", text.data, text.len, &error))
        abort();
    for (size_t i = 0; i < config_table_size; i++) {
        const struct config_row *row = &config_table[i];
        if (row->type != CONFIG_DIRECTORY &&
            !config_value_equal(row, config_field(c, row), config_field(again, row)))
            abort();
    }
    config_free(again);
    buf_release(&text);
    buf_release(&error);
}

/* Other files are not the fuzzer's to choose: is there an `include`, in any case, with quotes
 * inside or spelt with \xHH? */
static bool may_include(const uint8_t *data, size_t size)
{
    static const char word[] = "include";
    size_t matched = 0;
    for (size_t i = 0; i < size; i++) {
        int c = data[i] | 0x20;
        if (data[i] == '"' || data[i] == '\'')
            continue;
        matched = c == word[matched] ? matched + 1 : c == word[0];
        if (!word[matched])
            return true;
    }
    return memmem(data, size, "\\x", 2) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (may_include(data, size))
        return 0;
    char *text = malloc(size ? size : 1);
    memcpy(text, data, size);
    struct buf error = { 0 }, store = { 0 };
    struct resp_arg *argv = NULL;
    size_t cap = 0, shown = 0;
    struct config *c = config_new();
    if (!config_load_text(c, "fuzz", text, size, &error) && !error.len)
        abort();
    check_lines(c);
    const char *end = memchr(text, '\n', size);
    long n = resp_split_line(text, end ? (size_t)(end - text) : size, &store, &argv, &cap);
    if (n > 0) {
        config_get(c, argv, (size_t)n, ignore_value, &shown);
        if (!config_set(c, argv, (size_t)n / 2, &error) && strncmp(error.data, "ERR ", 4) != 0)
            abort();
        check_lines(c);
    }
    config_free(c);
    buf_release(&error);
    buf_release(&store);
    mem_free(argv);
    free(text);
    return 0;
}
