/* Values: text to field and back, by type.
 *
 * Parsing works on a value that the caller owns and leaves it alone when it fails, so that loading,
 * CONFIG SET and CONFIG REWRITE try a text out on a copy. Messages are those of Redis, which
 * clients and tests know. */
#include "config/config_int.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

static const struct client_class {
    const char *shown; /* by CONFIG GET: the old word, which tools expect */
    const char *written;
} classes[CONFIG_CLIENT_CLASSES] = { { "normal", "normal" },
                                     { "slave", "replica" },
                                     { "pubsub", "pubsub" } };

void config_say(struct buf *out, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int len = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (len >= 0) {
        vsnprintf(buf_reserve(out, (size_t)len + 1), (size_t)len + 1, fmt, ap);
        out->len += (size_t)len;
    }
    va_end(ap);
}

static bool refuse(struct buf *why, const char *reason)
{
    config_say(why, "%s", reason);
    return false;
}

static bool has_nul(const struct resp_arg *a)
{
    return memchr(a->data, '\0', a->len) != NULL;
}

/* ---- numbers ---- */

static bool in_bounds(const struct config_row *row, long long n, struct buf *why)
{
    if (n >= row->min && n <= row->max)
        return true;
    if (row->type == CONFIG_OCTAL)
        config_say(why, "argument must be between %llo and %llo inclusive",
                   (unsigned long long)row->min, (unsigned long long)row->max);
    else
        config_say(why, "argument must be between %lld and %lld inclusive", row->min, row->max);
    return false;
}

static bool read_octal(const struct resp_arg *a, long long *out)
{
    long long n = 0;
    if (a->len == 0 || a->len > 20)
        return false;
    for (size_t i = 0; i < a->len; i++) {
        if (a->data[i] < '0' || a->data[i] > '7')
            return false;
        n = n * 8 + (a->data[i] - '0');
    }
    *out = n;
    return true;
}

static const struct unit {
    const char *name;
    long long bytes;
} units[] = { { "gb", 1LL << 30 }, { "mb", 1LL << 20 }, { "kb", 1LL << 10 }, { "b", 1 },
              { "g", 1000000000 }, { "m", 1000000 },    { "k", 1000 },       { "", 1 } };

static bool read_memory(const struct resp_arg *a, long long *out)
{
    size_t digits = 0;
    while (digits < a->len && a->data[digits] >= '0' && a->data[digits] <= '9')
        digits++;
    struct resp_arg number = { a->data, digits }, unit = { a->data + digits, a->len - digits };
    while (number.len > 1 && *number.data == '0') {
        number.data++;
        number.len--;
    }
    long long n;
    if (!resp_to_int(&number, &n))
        return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (resp_is(&unit, units[i].name))
            return !__builtin_mul_overflow(n, units[i].bytes, out);
    }
    return false;
}

static void print_memory(long long n, enum config_form form, struct buf *out)
{
    size_t unit = 3;
    for (size_t i = 0; form == CONFIG_FORM_FILE && n && i < 3; i++) {
        if (n % units[i].bytes == 0) {
            unit = i;
            break;
        }
    }
    config_say(out, "%lld%s", n / units[unit].bytes, unit < 3 ? units[unit].name : "");
}

static bool parse_number(const struct config_row *row, long long *out, const struct resp_arg *a,
                         struct buf *why)
{
    long long n;
    if (row->type == CONFIG_INT && !resp_to_int(a, &n))
        return refuse(why, "argument couldn't be parsed into an integer");
    if (row->type == CONFIG_OCTAL && !read_octal(a, &n))
        return refuse(why, "argument couldn't be parsed as an octal number");
    if (row->type == CONFIG_MEMORY && !read_memory(a, &n))
        return refuse(why, "argument must be a memory value");
    if (!in_bounds(row, n, why))
        return false;
    *out = n;
    return true;
}

static bool parse_bool(bool *out, const struct resp_arg *a, struct buf *why)
{
    if (!resp_is(a, "yes") && !resp_is(a, "no"))
        return refuse(why, "argument must be 'yes' or 'no'");
    *out = resp_is(a, "yes");
    return true;
}

static bool parse_word(const struct config_row *row, int *out, const struct resp_arg *a,
                       struct buf *why)
{
    for (const struct config_word *w = row->words; w->text; w++) {
        if (resp_is(a, w->text)) {
            *out = w->value;
            return true;
        }
    }
    config_say(why, "argument(s) must be one of the following: ");
    for (const struct config_word *w = row->words; w->text; w++)
        config_say(why, "%s%s", w == row->words ? "" : ", ", w->text);
    return false;
}

/* ---- text ---- */

static bool parse_text(const struct config_row *row, char **out, const struct resp_arg *a,
                       struct buf *why)
{
    if (has_nul(a))
        return refuse(why, "argument must not contain a zero byte");
    if (a->len > (size_t)row->max) {
        config_say(why, "argument is too long: %lld bytes are allowed", row->max);
        return false;
    }
    bool dots = (a->len == 1 || a->len == 2) && memcmp(a->data, "..", a->len) == 0;
    if (row->flags & CONFIG_FILENAME && (a->len == 0 || dots || memchr(a->data, '/', a->len)))
        return refuse(why, "argument must be the name of a file, without a path");
    char *text = mem_strndup(a->data, a->len);
    if (row->type == CONFIG_DIRECTORY) {
        struct stat st;
        char *absolute = realpath(text, NULL);
        int reason = 0;
        if (!absolute || stat(absolute, &st) < 0)
            reason = errno;
        else if (!S_ISDIR(st.st_mode))
            reason = ENOTDIR;
        mem_free(text);
        text = reason ? NULL : mem_strndup(absolute, strlen(absolute));
        free(absolute);
        if (reason)
            return refuse(why, strerror(reason));
    }
    mem_free(*out);
    *out = text;
    return true;
}

static void list_release(struct config_list *list)
{
    for (size_t i = 0; i < list->n; i++)
        mem_free(list->items[i]);
    mem_free(list->items);
    *list = (struct config_list){ 0 };
}

static bool parse_list(const struct config_row *row, struct config_list *out,
                       const struct resp_arg *args, size_t n, struct buf *why)
{
    if (n > (size_t)row->max) {
        config_say(why, "too many arguments: %lld are allowed", row->max);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (args[i].len == 0 || args[i].len > 255 || has_nul(&args[i]))
            return refuse(why, "an argument is empty, too long or contains a zero byte");
        for (size_t j = 0; j < args[i].len; j++) {
            if (args[i].data[j] == ' ' || (args[i].data[j] >= '\t' && args[i].data[j] <= '\r'))
                return refuse(why, "an argument contains a blank");
        }
        int ignored;
        if (row->words && !parse_word(row, &ignored, &args[i], why))
            return false;
    }
    list_release(out);
    out->items = mem_alloc((n ? n : 1) * sizeof *out->items);
    for (; out->n < n; out->n++)
        out->items[out->n] = mem_strndup(args[out->n].data, args[out->n].len);
    return true;
}

/* ---- rows with a grammar of their own ---- */

static bool parse_limits(struct config_output_limits *out, const struct resp_arg *args, size_t n,
                         struct buf *why)
{
    struct config_output_limits limits = *out;
    if (n == 0 || n % 4)
        return refuse(why, "Wrong number of arguments in buffer limit configuration.");
    for (; n; n -= 4, args += 4) {
        int class = 0;
        while (class < CONFIG_CLIENT_CLASSES && !resp_is(&args[0], classes[class].shown) &&
               !resp_is(&args[0], classes[class].written))
            class++;
        if (class == CONFIG_CLIENT_CLASSES)
            return refuse(why, "Invalid client class specified in buffer limit configuration.");
        struct config_output_limit *limit = &limits.of[class];
        if (!read_memory(&args[1], &limit->hard) || !read_memory(&args[2], &limit->soft) ||
            !resp_to_int(&args[3], &limit->seconds) || limit->seconds < 0 ||
            limit->seconds > INT_MAX)
            return refuse(
                why, "Error in hard, soft or soft_seconds setting in buffer limit configuration.");
    }
    *out = limits;
    return true;
}

static bool print_limits(const struct config_output_limits *limits, enum config_form form, int line,
                         struct buf *out)
{
    if (line >= (form == CONFIG_FORM_GET ? 1 : CONFIG_CLIENT_CLASSES))
        return false;
    for (int i = 0; i < CONFIG_CLIENT_CLASSES; i++) {
        const struct config_output_limit *limit = &limits->of[i];
        if (form == CONFIG_FORM_FILE && i != line)
            continue;
        config_say(out, "%s%s ", form == CONFIG_FORM_GET && i ? " " : "",
                   form == CONFIG_FORM_GET ? classes[i].shown : classes[i].written);
        print_memory(limit->hard, form, out);
        config_say(out, " ");
        print_memory(limit->soft, form, out);
        config_say(out, " %lld", limit->seconds);
    }
    return true;
}

static bool parse_percentiles(struct config_percentiles *out, const struct resp_arg *args, size_t n,
                              struct buf *why)
{
    struct config_percentiles parsed = { .n = n };
    if (n > CONFIG_PERCENTILES_MAX) {
        config_say(why, "too many arguments: %d are allowed", CONFIG_PERCENTILES_MAX);
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!resp_to_double(&args[i], &parsed.at[i]) || !(parsed.at[i] >= 0 && parsed.at[i] <= 100))
            return refuse(
                why, "latency-tracking-info-percentiles should be numbers between 0.0 and 100.0");
    }
    *out = parsed;
    return true;
}

static void print_percentiles(const struct config_percentiles *p, struct buf *out)
{
    for (size_t i = 0; i < p->n; i++) {
        char text[RESP_DOUBLE_MAX];
        size_t len = resp_format_double(p->at[i], text);
        config_say(out, "%s%.*s", i ? " " : "", (int)len, text);
    }
}

/* Several lines of a file add up, as redis.conf has it; one argument (CONFIG SET, or quoted) is all
 * there is. */
static bool parse_saves(struct config_saves *out, const struct resp_arg *args, size_t n,
                        bool adds, struct buf *why)
{
    struct config_saves saves = { .given = adds };
    if (adds && out->given)
        saves = *out;
    if (n % 2)
        return refuse(why, "Invalid save parameters");
    for (; n; n -= 2, args += 2) {
        struct config_save *save = &saves.at[saves.n];
        if (saves.n == CONFIG_SAVES_MAX) {
            config_say(why, "too many save points: %d are allowed", CONFIG_SAVES_MAX);
            return false;
        }
        if (!resp_to_int(&args[0], &save->seconds) || !resp_to_int(&args[1], &save->changes) ||
            save->seconds < 1 || save->seconds > INT_MAX || save->changes < 0)
            return refuse(why, "Invalid save parameters");
        saves.n++;
    }
    *out = saves;
    return true;
}

static void print_saves(const struct config_saves *saves, struct buf *out)
{
    for (size_t i = 0; i < saves->n; i++)
        config_say(out, "%s%lld %lld", i ? " " : "", saves->at[i].seconds, saves->at[i].changes);
}

/* ---- all types ---- */

static bool takes_many(const struct config_row *row)
{
    return row->type == CONFIG_LIST || row->type == CONFIG_LIMITS ||
           row->type == CONFIG_PERCENTILES || row->type == CONFIG_SAVES;
}

/* `line`: the arguments stood there one by one. */
static bool parse_many(const struct config_row *row, void *value, const struct resp_arg *args,
                       size_t n, bool line, struct buf *why)
{
    switch (row->type) {
    case CONFIG_SAVES: return parse_saves(value, args, n, line, why);
    case CONFIG_LIMITS: return parse_limits(value, args, n, why);
    case CONFIG_PERCENTILES: return parse_percentiles(value, args, n, why);
    default: return parse_list(row, value, args, n, why);
    }
}

bool config_value_parse(const struct config_row *row, void *value, const struct resp_arg *args,
                        size_t n, struct buf *why)
{
    if (takes_many(row) && n == 1) {
        /* One argument, quoted or from CONFIG SET: its words. */
        struct buf store = { 0 };
        struct resp_arg *words = NULL;
        size_t words_cap = 0;
        long count = resp_split_line(args[0].data, args[0].len, &store, &words, &words_cap);
        bool ok = count < 0 ? refuse(why, "unbalanced quotes in the argument")
                            : parse_many(row, value, words, (size_t)count, false, why);
        buf_release(&store);
        mem_free(words);
        return ok;
    }
    if (takes_many(row))
        return n == 0 ? refuse(why, "wrong number of arguments")
                      : parse_many(row, value, args, n, true, why);
    if (n != 1)
        return refuse(why, "wrong number of arguments");
    switch (row->type) {
    case CONFIG_BOOL: return parse_bool(value, args, why);
    case CONFIG_ENUM: return parse_word(row, value, args, why);
    case CONFIG_STRING:
    case CONFIG_DIRECTORY: return parse_text(row, value, args, why);
    default: return parse_number(row, value, args, why);
    }
}

/* A word of a file: as it is, or in double quotes. */
static void print_word(const char *text, enum config_form form, struct buf *out)
{
    static const char plain[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:*@%+=,~^!&|$?<>()[]{};";
    if (form == CONFIG_FORM_GET || (*text && text[strspn(text, plain)] == '\0')) {
        config_say(out, "%s", text);
        return;
    }
    config_say(out, "\"");
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            config_say(out, "\\%c", c);
        else if (c >= ' ' && c < 127)
            config_say(out, "%c", c);
        else
            config_say(out, "\\x%02x", c);
    }
    config_say(out, "\"");
}

static void print_list(const struct config_list *list, enum config_form form, struct buf *out)
{
    for (size_t i = 0; i < list->n; i++) {
        config_say(out, "%s", i ? " " : "");
        print_word(list->items[i], form, out);
    }
}

static const char *word_text(const struct config_row *row, int value)
{
    for (const struct config_word *w = row->words; w->text; w++) {
        if (w->value == value)
            return w->text;
    }
    return "";
}

bool config_value_print(const struct config_row *row, const void *value, enum config_form form,
                        int line, struct buf *out)
{
    size_t begin = out->len;
    if (row->type == CONFIG_LIMITS)
        return print_limits(value, form, line, out);
    if (line > 0)
        return false;
    switch (row->type) {
    case CONFIG_BOOL: config_say(out, "%s", *(const bool *)value ? "yes" : "no"); break;
    case CONFIG_ENUM: config_say(out, "%s", word_text(row, *(const int *)value)); break;
    case CONFIG_MEMORY: print_memory(*(const long long *)value, form, out); break;
    case CONFIG_OCTAL:
        config_say(out, "%llo", (unsigned long long)*(const long long *)value);
        break;
    case CONFIG_STRING: print_word(*(char *const *)value, form, out); break;
    case CONFIG_DIRECTORY: {
        char *absolute = form == CONFIG_FORM_GET ? realpath(*(char *const *)value, NULL) : NULL;
        print_word(absolute ? absolute : *(char *const *)value, form, out);
        free(absolute);
        break;
    }
    case CONFIG_LIST: print_list(value, form, out); break;
    case CONFIG_PERCENTILES: print_percentiles(value, out); break;
    case CONFIG_SAVES: print_saves(value, out); break;
    default: config_say(out, "%lld", *(const long long *)value); break;
    }
    if (form == CONFIG_FORM_FILE && out->len == begin)
        config_say(out, "\"\"");
    return true;
}

void config_value_lines(const struct config_row *row, const void *value, struct buf *out)
{
    for (int line = 0;; line++) {
        size_t begin = out->len;
        config_say(out, "%s ", row->name);
        if (!config_value_print(row, value, CONFIG_FORM_FILE, line, out)) {
            out->len = begin;
            return;
        }
        config_say(out, "\n");
    }
}

size_t config_value_size(const struct config_row *row)
{
    switch (row->type) {
    case CONFIG_BOOL: return sizeof(bool);
    case CONFIG_ENUM: return sizeof(int);
    case CONFIG_STRING:
    case CONFIG_DIRECTORY: return sizeof(char *);
    case CONFIG_LIST: return sizeof(struct config_list);
    case CONFIG_LIMITS: return sizeof(struct config_output_limits);
    case CONFIG_PERCENTILES: return sizeof(struct config_percentiles);
    case CONFIG_SAVES: return sizeof(struct config_saves);
    default: return sizeof(long long);
    }
}

void config_value_copy(const struct config_row *row, void *to, const void *from)
{
    memcpy(to, from, config_value_size(row));
    if (row->type == CONFIG_STRING || row->type == CONFIG_DIRECTORY) {
        char **text = to;
        *text = mem_strndup(*text, strlen(*text));
    } else if (row->type == CONFIG_LIST) {
        const struct config_list *old = from;
        struct config_list *list = to;
        list->items = mem_alloc((old->n ? old->n : 1) * sizeof *list->items);
        for (size_t i = 0; i < old->n; i++)
            list->items[i] = mem_strndup(old->items[i], strlen(old->items[i]));
    }
}

bool config_value_equal(const struct config_row *row, const void *a, const void *b)
{
    /* The text in a file says everything about a value. */
    struct buf text_a = { 0 }, text_b = { 0 };
    config_value_lines(row, a, &text_a);
    config_value_lines(row, b, &text_b);
    bool equal = text_a.len == text_b.len && memcmp(text_a.data, text_b.data, text_a.len) == 0;
    buf_release(&text_a);
    buf_release(&text_b);
    return equal;
}

void config_value_release(const struct config_row *row, void *value)
{
    if (row->type == CONFIG_STRING || row->type == CONFIG_DIRECTORY) {
        mem_free(*(char **)value);
        *(char **)value = NULL;
    } else if (row->type == CONFIG_LIST) {
        list_release(value);
    }
}
