/* The table of commands: a sorted array for listings, an open-addressing index for lookups, and a
 * dense number for every row that can run (subcommands included), so that statistics are arrays.
 * Filled at start, then read only. */
#include "cmd/command.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/mem.h"

#define NAME_MAX_LEN   64
#define ERROR_ARGS_MAX 128 /* bytes of arguments quoted in the error about an unknown command */

struct cmd_table {
    const struct cmd_spec **sorted;
    size_t n, cap;
    uint32_t *index;              /* of names: position in sorted + 1 */
    size_t index_size;            /* a power of two */
    const struct cmd_spec **rows; /* by cmd_id */
    const struct cmd_spec **parents;
    size_t rows_n, rows_cap;
    uint32_t *ids; /* of addresses: id + 1 */
    size_t ids_size;
};

static inline char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* FNV-1a over the lower-case letters: names are a few bytes long. */
static uint64_t name_hash(const char *name, size_t len)
{
    uint64_t h = 0xcbf29ce484222325ull;
    for (size_t i = 0; i < len; i++)
        h = (h ^ (unsigned char)lower(name[i])) * 0x100000001b3ull;
    return h ^ h >> 29;
}

static bool name_equal(const char *spec, const char *name, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (spec[i] == 0 || spec[i] != lower(name[i]))
            return false;
    return spec[len] == 0;
}

struct cmd_table *cmd_table_new(void)
{
    return mem_zalloc(sizeof(struct cmd_table));
}

void cmd_table_free(struct cmd_table *t)
{
    if (!t)
        return;
    mem_free(t->sorted);
    mem_free(t->index);
    mem_free(t->rows);
    mem_free(t->parents);
    mem_free(t->ids);
    mem_free(t);
}

static void add_row(struct cmd_table *t, const struct cmd_spec *spec, const struct cmd_spec *parent)
{
    if (t->rows_n == t->rows_cap) {
        t->rows_cap = t->rows_cap ? t->rows_cap * 2 : 64;
        t->rows = mem_realloc(t->rows, t->rows_cap * sizeof(*t->rows));
        t->parents = mem_realloc(t->parents, t->rows_cap * sizeof(*t->parents));
    }
    t->rows[t->rows_n] = spec;
    t->parents[t->rows_n++] = parent;
    for (const struct cmd_spec *s = spec->subcommands; s && s->name; s++)
        add_row(t, s, spec);
}

static int by_name(const void *a, const void *b)
{
    const struct cmd_spec *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static void build_indexes(struct cmd_table *t)
{
    qsort(t->sorted, t->n, sizeof(*t->sorted), by_name);
    t->index_size = t->ids_size = 64;
    while (t->index_size < t->n * 4)
        t->index_size *= 2;
    while (t->ids_size < t->rows_n * 4)
        t->ids_size *= 2;
    mem_free(t->index);
    mem_free(t->ids);
    t->index = mem_zalloc(t->index_size * sizeof(*t->index));
    t->ids = mem_zalloc(t->ids_size * sizeof(*t->ids));
    for (size_t i = 0; i < t->n; i++) {
        size_t at = name_hash(t->sorted[i]->name, strlen(t->sorted[i]->name)) & (t->index_size - 1);
        while (t->index[at])
            at = (at + 1) & (t->index_size - 1);
        t->index[at] = (uint32_t)i + 1;
    }
    for (size_t i = 0; i < t->rows_n; i++) {
        size_t at = hash_mix((uintptr_t)t->rows[i]) & (t->ids_size - 1);
        while (t->ids[at])
            at = (at + 1) & (t->ids_size - 1);
        t->ids[at] = (uint32_t)i + 1;
    }
}

void cmd_register(struct cmd_table *t, const struct cmd_spec *specs)
{
    for (const struct cmd_spec *s = specs; s->name; s++) {
        if (t->n == t->cap) {
            t->cap = t->cap ? t->cap * 2 : 64;
            t->sorted = mem_realloc(t->sorted, t->cap * sizeof(*t->sorted));
        }
        t->sorted[t->n++] = s;
        add_row(t, s, NULL);
    }
    build_indexes(t);
}

const struct cmd_spec *cmd_find(const struct cmd_table *t, const char *name, size_t len)
{
    if (len == 0 || len > NAME_MAX_LEN || !t->index)
        return NULL;
    size_t at = name_hash(name, len) & (t->index_size - 1);
    for (; t->index[at]; at = (at + 1) & (t->index_size - 1)) {
        const struct cmd_spec *s = t->sorted[t->index[at] - 1];
        if (name_equal(s->name, name, len))
            return s;
    }
    return NULL;
}

const struct cmd_spec *cmd_find_sub(const struct cmd_spec *parent, const char *name, size_t len)
{
    for (const struct cmd_spec *s = parent->subcommands; s && s->name; s++)
        if (name_equal(s->name, name, len))
            return s;
    return NULL;
}

size_t cmd_count(const struct cmd_table *t)
{
    return t->n;
}

const struct cmd_spec *cmd_at(const struct cmd_table *t, size_t i)
{
    return t->sorted[i];
}

size_t cmd_rows(const struct cmd_table *t)
{
    return t->rows_n;
}

size_t cmd_id(const struct cmd_table *t, const struct cmd_spec *spec)
{
    size_t at = hash_mix((uintptr_t)spec) & (t->ids_size - 1);
    while (t->rows[t->ids[at] - 1] != spec)
        at = (at + 1) & (t->ids_size - 1);
    return t->ids[at] - 1;
}

const struct cmd_spec *cmd_row(const struct cmd_table *t, size_t id, const struct cmd_spec **parent)
{
    *parent = t->parents[id];
    return t->rows[id];
}

size_t cmd_full_name(const struct cmd_table *t, const struct cmd_spec *spec, char *out, size_t size)
{
    const struct cmd_spec *parent;
    cmd_row(t, cmd_id(t, spec), &parent);
    int n = parent ? snprintf(out, size, "%s|%s", parent->name, spec->name)
                   : snprintf(out, size, "%s", spec->name);
    return (size_t)n < size ? (size_t)n : size - 1;
}

/* ---- from arguments to a row ---- */

static int shown(size_t len)
{
    return len < ERROR_ARGS_MAX ? (int)len : ERROR_ARGS_MAX;
}

static void unknown_command(const struct resp_arg *argv, size_t argc, struct resp_writer *w)
{
    struct buf args = {0};
    for (size_t i = 1; i < argc && args.len < ERROR_ARGS_MAX; i++)
        buf_printf(&args, "'%.*s' ",
                   shown(argv[i].len < ERROR_ARGS_MAX - args.len ? argv[i].len
                                                                 : ERROR_ARGS_MAX - args.len),
                   argv[i].data);
    resp_error(w, "ERR unknown command '%.*s', with args beginning with: %.*s", shown(argv[0].len),
               argv[0].data, (int)args.len, args.len ? args.data : "");
    buf_release(&args);
}

static void unknown_subcommand(const struct cmd_spec *parent, const struct resp_arg *sub,
                               struct resp_writer *w)
{
    char upper[NAME_MAX_LEN];
    size_t n = 0;
    for (; parent->name[n] && n < sizeof(upper) - 1; n++)
        upper[n] = (char)(parent->name[n] >= 'a' && parent->name[n] <= 'z' ? parent->name[n] - 32
                                                                           : parent->name[n]);
    upper[n] = 0;
    resp_error(w, "ERR unknown subcommand '%.*s'. Try %s HELP.", shown(sub->len), sub->data, upper);
}

static bool arity_fits(const struct cmd_spec *spec, size_t argc)
{
    return spec->arity >= 0 ? argc == (size_t)spec->arity : argc >= (size_t)-spec->arity;
}

const struct cmd_spec *cmd_resolve(const struct cmd_table *t, const struct resp_arg *argv,
                                   size_t argc, struct resp_writer *w)
{
    const struct cmd_spec *spec = cmd_find(t, argv[0].data, argv[0].len);
    if (!spec) {
        unknown_command(argv, argc, w);
        return NULL;
    }
    const struct cmd_spec *parent = NULL;
    if (spec->subcommands && argc > 1) {
        parent = spec;
        spec = cmd_find_sub(parent, argv[1].data, argv[1].len);
        if (!spec) {
            unknown_subcommand(parent, &argv[1], w);
            return NULL;
        }
    }
    if (!arity_fits(spec, argc) || !spec->handler) {
        resp_error(w, "ERR wrong number of arguments for '%s%s%s' command",
                   parent ? parent->name : "", parent ? "|" : "", spec->name);
        return NULL;
    }
    return spec;
}
