/* Reading settings from files and from the command line.
 *
 * A file has one setting a line: its name and its arguments, quoted as in inline commands. A line
 * that begins with # is a comment. `include <path or pattern>` reads other files in its place.
 * Later lines win over earlier ones, the command line over the file. What is wrong is said with its
 * place and stops the reading; the text of the line is not repeated, for it may hold a password. */
#include "config/config.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "config/config_int.h"

#define FILE_BYTES_MAX ((size_t)16 << 20)
#define INCLUDE_DEPTH_MAX 16
#define INCLUDE_FILES_MAX 256

struct loading {
    struct config *config;
    struct buf *error;
    int depth, files;
    struct resp_arg *argv;
    size_t argv_cap;
};

static bool load_text(struct loading *l, const char *name, const char *text, size_t len);

bool config_read_file(const char *path, bool missing_ok, struct buf *out, struct buf *error)
{
    bool standard_input = strcmp(path, "-") == 0;
    int fd = standard_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && missing_ok)
        return true;
    if (fd < 0) {
        config_say(error, "can't open config file '%s': %s", path, strerror(errno));
        return false;
    }
    bool ok = false;
    for (;;) {
        if (out->len > FILE_BYTES_MAX) {
            config_say(error, "config file '%s' is larger than %zu bytes", path, FILE_BYTES_MAX);
            break;
        }
        ssize_t got = read(fd, buf_reserve(out, 65536), 65536);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            config_say(error, "can't read config file '%s': %s", path, strerror(errno));
        ok = got == 0;
        if (got <= 0)
            break;
        out->len += (size_t)got;
    }
    if (!standard_input)
        close(fd);
    return ok;
}

static bool load_file(struct loading *l, const char *path)
{
    struct buf text = { 0 };
    bool ok = config_read_file(path, false, &text, l->error);
    if (ok && text.len)
        ok = load_text(l, path, text.data, text.len);
    buf_release(&text);
    return ok;
}

/* `reason` is set when the fault is this line's; an error in an included file has been said
 * already. */
static bool load_include(struct loading *l, const struct resp_arg *arg, struct buf *why)
{
    if (l->depth >= INCLUDE_DEPTH_MAX) {
        config_say(why, "includes are nested more than %d deep", INCLUDE_DEPTH_MAX);
        return false;
    }
    struct buf path = { 0 };
    glob_t found;
    if (arg->len && arg->data[0] != '/')
        config_say(&path, "%s/", l->config->state->start_dir);
    config_say(&path, "%.*s", (int)arg->len, arg->data);
    int rc = glob(path.data, 0, NULL, &found);
    bool ok = rc == 0 || (rc == GLOB_NOMATCH && strpbrk(path.data, "*?[") != NULL);
    if (!ok)
        config_say(why, "can't find config file '%s'", path.data);
    for (size_t i = 0; rc == 0 && i < found.gl_pathc && ok; i++) {
        struct stat st;
        const char *file = found.gl_pathv[i];
        if (stat(file, &st) == 0 && !S_ISREG(st.st_mode)) {
            config_say(why, "'%s' is not a file", file);
            ok = false;
        } else if (++l->files > INCLUDE_FILES_MAX) {
            config_say(why, "more than %d files are included", INCLUDE_FILES_MAX);
            ok = false;
        } else {
            l->depth++;
            ok = load_file(l, file);
            l->depth--;
        }
    }
    if (rc == 0)
        globfree(&found);
    buf_release(&path);
    return ok;
}

/* One setting with its arguments. False: the reason is in `why`, or an included file's message is
 * in l->error. */
static bool load_setting(struct loading *l, const struct resp_arg *args, size_t n, struct buf *why)
{
    if (resp_is(&args[0], "include") && n == 2)
        return load_include(l, &args[1], why);
    const struct config_row *row = config_row_find(args[0].data, args[0].len);
    if (!row) {
        config_say(why, "Bad directive or wrong number of arguments");
        return false;
    }
    return config_value_parse(row, config_field(l->config, row), args + 1, n - 1, why);
}

/* A name out of a file, made fit to be shown. */
static void say_name(struct buf *error, const struct resp_arg *name)
{
    config_say(error, "'");
    for (size_t i = 0; i < name->len && i < 64; i++)
        config_say(error, "%c", name->data[i] > ' ' && name->data[i] < 127 ? name->data[i] : '?');
    config_say(error, "': ");
}

static bool load_line(struct loading *l, const char *name, size_t number, const char *line,
                      size_t len)
{
    while (len && (*line == ' ' || (*line >= '\t' && *line <= '\r'))) {
        line++;
        len--;
    }
    if (!len || *line == '#')
        return true;
    struct buf store = { 0 }, why = { 0 };
    bool ok = false;
    long argc = resp_split_line(line, len, &store, &l->argv, &l->argv_cap);
    if (argc < 0) {
        config_say(l->error, "%s:%zu: Unbalanced quotes in configuration line", name, number);
    } else {
        /* An included file needs the array of arguments itself. */
        struct resp_arg *argv = l->argv;
        l->argv = NULL;
        l->argv_cap = 0;
        ok = load_setting(l, argv, (size_t)argc, &why);
        if (!ok && why.len) {
            config_say(l->error, "%s:%zu: ", name, number);
            say_name(l->error, &argv[0]);
            config_say(l->error, "%s", why.data);
        }
        mem_free(argv);
    }
    buf_release(&why);
    buf_release(&store);
    return ok;
}

static bool load_text(struct loading *l, const char *name, const char *text, size_t len)
{
    for (size_t at = 0, number = 1; at < len; number++) {
        const char *end = memchr(text + at, '\n', len - at);
        size_t line = end ? (size_t)(end - text) - at : len - at;
        if (!load_line(l, name, number, text + at, line))
            return false;
        at += line + 1;
    }
    return true;
}

bool config_load_text(struct config *c, const char *name, const char *text, size_t len,
                      struct buf *error)
{
    struct loading l = { .config = c, .error = error };
    error->len = 0;
    bool ok = load_text(&l, name, text, len);
    mem_free(l.argv);
    return ok;
}

bool config_load_file(struct config *c, const char *path, struct buf *error)
{
    struct loading l = { .config = c, .error = error };
    error->len = 0;
    if (strcmp(path, "-") != 0) {
        char *absolute = realpath(path, NULL);
        mem_free(c->state->file);
        c->state->file = absolute ? mem_strndup(absolute, strlen(absolute)) : NULL;
        free(absolute);
    }
    bool ok = load_file(&l, path);
    mem_free(l.argv);
    return ok;
}

bool config_load_args(struct config *c, int argc, char *const *argv, struct buf *error)
{
    struct loading l = { .config = c, .error = error };
    bool ok = true;
    int at = 0;
    error->len = 0;
    if (argc > 0 && (argv[0][0] != '-' || argv[0][1] == '\0')) {
        ok = config_load_file(c, argv[0], error);
        at = 1;
    }
    struct resp_arg *args = mem_alloc((argc > 0 ? (size_t)argc : 1) * sizeof *args);
    while (ok && at < argc) {
        if (strncmp(argv[at], "--", 2) != 0 || !argv[at][2]) {
            config_say(error, "'%s' is not of the form --setting value", argv[at]);
            ok = false;
            break;
        }
        size_t n = 0;
        do {
            const char *word = n ? argv[at] : argv[at] + 2;
            args[n++] = (struct resp_arg){ word, strlen(word) };
            at++;
        } while (at < argc && strncmp(argv[at], "--", 2) != 0);
        struct buf why = { 0 };
        ok = load_setting(&l, args, n, &why);
        if (!ok && why.len) {
            config_say(error, "command line: ");
            say_name(error, &args[0]);
            config_say(error, "%s", why.data);
        }
        buf_release(&why);
    }
    mem_free(args);
    mem_free(l.argv);
    return ok;
}
