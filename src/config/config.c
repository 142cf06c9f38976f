/* Making a configuration, asking it and changing it.
 *
 * CONFIG SET goes through four steps, of which only the last two can be seen:
 *   1. find the rows: known, changeable, none twice
 *   2. parse every value into a copy
 *   3. exchange fields and copies
 *   4. ask the listeners, each once; a refusal exchanges back and calls again those that had
 *      accepted
 * The copies hold the new values before step 3 and the old ones after it, and are released either
 * way. */
#include "config/config.h"

#include <string.h>
#include <unistd.h>

#include "base/glob.h"
#include "base/mem.h"
#include "config/config_int.h"

#define SET_PAIRS_MAX 1024

const struct config_row *config_row_find(const char *name, size_t len)
{
    struct resp_arg wanted = { name, len };
    for (size_t i = 0; i < config_table_size; i++) {
        const struct config_row *row = &config_table[i];
        if (resp_is(&wanted, row->name) || (row->alias && resp_is(&wanted, row->alias)))
            return row;
    }
    return NULL;
}

void *config_field(const struct config *c, const struct config_row *row)
{
    return (char *)(uintptr_t)c + row->offset;
}

struct config *config_new(void)
{
    struct config *c = mem_zalloc(sizeof *c);
    char here[4096];
    c->state = mem_zalloc(sizeof *c->state);
    const char *start = getcwd(here, sizeof here) ? here : "/";
    c->state->start_dir = mem_strndup(start, strlen(start));
    struct buf why = { 0 };
    for (size_t i = 0; i < config_table_size; i++) {
        const struct config_row *row = &config_table[i];
        struct resp_arg preset = { row->preset, strlen(row->preset) };
        if (row->type == CONFIG_STRING || row->type == CONFIG_DIRECTORY)
            *(char **)config_field(c, row) = mem_strndup(preset.data, preset.len);
        else
            config_value_parse(row, config_field(c, row), &preset, 1, &why);
    }
    buf_release(&why);
    return c;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < config_table_size; i++)
        config_value_release(&config_table[i], config_field(c, &config_table[i]));
    mem_free(c->state->file);
    mem_free(c->state->start_dir);
    mem_free(c->state->listeners);
    mem_free(c->state);
    mem_free(c);
}

const char *config_file(const struct config *c)
{
    return c->state->file;
}

/* ---- CONFIG GET ---- */

static bool is_asked(const char *name, unsigned flags, const struct resp_arg *patterns, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (flags & CONFIG_HIDDEN
                ? resp_is(&patterns[i], name)
                : glob_match(patterns[i].data, patterns[i].len, name, strlen(name), true))
            return true;
    }
    return false;
}

size_t config_get(const struct config *c, const struct resp_arg *patterns, size_t n,
                  void (*each)(void *arg, const char *name, const char *value, size_t len),
                  void *arg)
{
    struct buf text = { 0 };
    size_t found = 0;
    for (size_t i = 0; i < config_table_size; i++) {
        const struct config_row *row = &config_table[i];
        const char *names[] = { row->name, row->alias };
        for (size_t j = 0; j < 2; j++) {
            if (!names[j] || !is_asked(names[j], row->flags, patterns, n))
                continue;
            found++;
            if (!each)
                continue;
            text.len = 0;
            buf_reserve(&text, 1);
            config_value_print(row, config_field(c, row), CONFIG_FORM_GET, 0, &text);
            each(arg, names[j], text.data, text.len);
        }
    }
    buf_release(&text);
    return found;
}

/* ---- CONFIG SET ---- */

struct change {
    const struct config_row *row;
    const struct resp_arg *name;
    union config_value value;
    bool held; /* `value` is a copy to be released */
    bool differs;
};

void config_on_change(struct config *c, const char *name, config_listener fn, void *arg)
{
    const struct config_row *row = config_row_find(name, strlen(name));
    struct config_state *s = c->state;
    if (!row)
        return;
    s->listeners = mem_realloc(s->listeners, (s->listeners_n + 1) * sizeof *s->listeners);
    s->listeners[s->listeners_n++] = (struct config_listening){ row, fn, arg };
}

static bool has_listener(const struct config_state *s, const struct config_row *row)
{
    for (size_t i = 0; i < s->listeners_n; i++) {
        if (s->listeners[i].row == row)
            return true;
    }
    return false;
}

static bool fail_set(struct buf *error, const struct resp_arg *name, const char *why)
{
    error->len = 0;
    config_say(error, "ERR CONFIG SET failed (possibly related to argument '%.*s') - %s",
               (int)(name->len < 128 ? name->len : 128), name->data, why);
    return false;
}

static bool find_rows(const struct config *c, struct change *changes, const struct resp_arg *args,
                      size_t pairs, struct buf *error)
{
    for (size_t i = 0; i < pairs; i++) {
        const struct resp_arg *name = &args[i * 2];
        const struct config_row *row = config_row_find(name->data, name->len);
        if (!row) {
            config_say(error, "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
                       (int)(name->len < 128 ? name->len : 128), name->data);
            return false;
        }
        changes[i].row = row;
        changes[i].name = name;
        if (row->flags & CONFIG_IMMUTABLE ||
            (row->flags & CONFIG_APPLIED && !has_listener(c->state, row)))
            return fail_set(error, name, "can't set immutable config");
        for (size_t j = 0; j < i; j++) {
            if (changes[j].row == row)
                return fail_set(error, name, "duplicate parameter");
        }
    }
    return true;
}

static bool parse_changes(const struct config *c, struct change *changes,
                          const struct resp_arg *args, size_t pairs, struct buf *error)
{
    struct buf why = { 0 };
    bool ok = true;
    for (size_t i = 0; i < pairs && ok; i++) {
        struct change *change = &changes[i];
        void *field = config_field(c, change->row);
        config_value_copy(change->row, &change->value, field);
        change->held = true;
        ok = config_value_parse(change->row, &change->value, &args[i * 2 + 1], 1, &why);
        if (!ok)
            fail_set(error, change->name, why.data);
        else
            change->differs = !config_value_equal(change->row, &change->value, field);
    }
    buf_release(&why);
    return ok;
}

static void exchange(struct config *c, struct change *changes, size_t pairs)
{
    for (size_t i = 0; i < pairs; i++) {
        void *field = config_field(c, changes[i].row);
        size_t size = config_value_size(changes[i].row);
        union config_value kept;
        memcpy(&kept, field, size);
        memcpy(field, &changes[i].value, size);
        memcpy(&changes[i].value, &kept, size);
    }
}

/* The change that makes listener `at` be called: the first of those its function listens to. NULL
 * when nothing it listens to differs, or when an earlier entry of the same function and argument
 * stands for it. */
static const struct change *concerned(const struct config_state *s, size_t at,
                                      const struct change *changes, size_t pairs)
{
    const struct config_listening *asked = &s->listeners[at];
    const struct change *first = NULL;
    size_t lowest = s->listeners_n;
    for (size_t i = 0; i < pairs; i++) {
        for (size_t j = 0; changes[i].differs && j < s->listeners_n; j++) {
            const struct config_listening *l = &s->listeners[j];
            if (l->row != changes[i].row || l->fn != asked->fn || l->arg != asked->arg)
                continue;
            first = first ? first : &changes[i];
            lowest = j < lowest ? j : lowest;
        }
    }
    return lowest == at ? first : NULL;
}

/* Calls the listeners before `end` that the changes concern; where one refused, or `end`. */
static size_t call_listeners(struct config *c, size_t end, const struct change *changes,
                             size_t pairs, const struct change **about, const char **why)
{
    for (size_t i = 0; i < end; i++) {
        const struct change *change = concerned(c->state, i, changes, pairs);
        if (!change)
            continue;
        *about = change;
        *why = NULL;
        if (!c->state->listeners[i].fn(c->state->listeners[i].arg, change->row->name, why))
            return i;
    }
    return end;
}

bool config_set(struct config *c, const struct resp_arg *args, size_t pairs, struct buf *error)
{
    error->len = 0;
    if (pairs > SET_PAIRS_MAX)
        pairs = SET_PAIRS_MAX; /* more than there are settings: among them is a duplicate */
    struct change *changes = mem_zalloc((pairs ? pairs : 1) * sizeof *changes);
    bool ok =
        find_rows(c, changes, args, pairs, error) && parse_changes(c, changes, args, pairs, error);
    if (ok) {
        const struct change *about = NULL, *ignored;
        const char *why = NULL, *unheard;
        size_t listeners = c->state->listeners_n;
        exchange(c, changes, pairs);
        size_t refused = call_listeners(c, listeners, changes, pairs, &about, &why);
        if (refused < listeners) {
            ok = fail_set(error, about->name, why ? why : "the value could not be applied");
            exchange(c, changes, pairs);
            for (size_t i = 0; i < refused; i++) {
                if ((ignored = concerned(c->state, i, changes, pairs)) != NULL)
                    c->state->listeners[i].fn(c->state->listeners[i].arg, ignored->row->name,
                                              &unheard);
            }
        }
    }
    for (size_t i = 0; i < pairs; i++) {
        if (changes[i].held)
            config_value_release(changes[i].row, &changes[i].value);
    }
    mem_free(changes);
    return ok;
}
