/* tsan: skip (one thread) */
/* The settings: table, files, command line, CONFIG GET, SET and REWRITE, the default file. tsan:
 * skip (one thread). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"
#include "config/config.h"
#include "config/config_int.h"

#define ARGS_MAX 32

/* ---- helpers ---- */

static char folder[256];

static const char *in_folder(const char *name)
{
    static char path[4][512];
    static int at;
    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", folder, name);
    return path[at];
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static void expect_file(const char *path, const char *want)
{
    struct buf text = { 0 }, error = { 0 };
    assert_true(config_read_file(path, false, &text, &error));
    buf_append(&text, "", 1);
    assert_string_equal(text.data, want);
    buf_release(&text);
    buf_release(&error);
}

struct got {
    struct buf text;
};

static void take(void *arg, const char *name, const char *value, size_t len)
{
    struct got *got = arg;
    buf_printf(&got->text, "%s=%.*s;", name, (int)len, value);
}

/* Words of `line` as arguments. */
static size_t words(const char *line, struct buf *store, struct resp_arg args[ARGS_MAX])
{
    size_t cap = 0;
    struct resp_arg *argv = NULL;
    long n = resp_split_line(line, strlen(line), store, &argv, &cap);
    assert_true(n >= 0 && n <= ARGS_MAX);
    if (n)
        memcpy(args, argv, (size_t)n * sizeof *argv);
    mem_free(argv);
    return (size_t)n;
}

static void expect_get(const struct config *c, const char *patterns, const char *want)
{
    struct got got = { 0 };
    struct buf store = { 0 };
    struct resp_arg args[ARGS_MAX];
    size_t n = words(patterns, &store, args);
    size_t found = config_get(c, args, n, take, &got);
    assert_int_equal(config_get(c, args, n, NULL, NULL), found);
    buf_append(&got.text, "", 1);
    assert_string_equal(got.text.data, want);
    buf_release(&got.text);
    buf_release(&store);
}

/* CONFIG SET of the words; `error` NULL: it must go well. */
static void expect_set(struct config *c, const char *pairs, const char *error)
{
    struct buf store = { 0 }, said = { 0 };
    struct resp_arg args[ARGS_MAX];
    size_t n = words(pairs, &store, args);
    bool ok = config_set(c, args, n / 2, &said);
    if (!ok && !error)
        fail_msg("%s: %s", pairs, said.data);
    assert_true(ok == !error);
    if (error)
        assert_string_equal(said.data, error);
    buf_release(&store);
    buf_release(&said);
}

static void expect_load(struct config *c, const char *text, const char *error)
{
    struct buf said = { 0 };
    bool ok = config_load_text(c, "x.conf", text, strlen(text), &said);
    if (!ok && !error)
        fail_msg("%s: %s", text, said.data);
    assert_true(ok == !error);
    if (error)
        assert_string_equal(said.data, error);
    buf_release(&said);
}

static void expect_args(struct config *c, int argc, const char *const *argv, const char *error)
{
    struct buf said = { 0 };
    bool ok = config_load_args(c, argc, (char *const *)(uintptr_t)argv, &said);
    if (!ok && !error)
        fail_msg("%s", said.data);
    assert_true(ok == !error);
    if (error)
        assert_string_equal(said.data, error);
    buf_release(&said);
}

#define FAILED(name, why) "ERR CONFIG SET failed (possibly related to argument '" name "') - " why

/* ---- the table ---- */

static void test_table(void **state)
{
    (void)state;
    for (size_t i = 0; i < config_table_size; i++) {
        const struct config_row *row = &config_table[i];
        assert_true(row->doc && strlen(row->doc) > 10);
        assert_true(row->type != CONFIG_ENUM || row->words);
        assert_true(row->offset + config_value_size(row) <= sizeof(struct config));
        assert_true(row->example == NULL || *row->preset == '\0');
        for (size_t j = 0; j < i; j++) {
            assert_string_not_equal(row->name, config_table[j].name);
            /* No two fields overlap. */
            const struct config_row *other = &config_table[j];
            assert_true(row->offset >= other->offset + config_value_size(other) ||
                        other->offset >= row->offset + config_value_size(row));
        }
        /* The preset is one that a file could say. */
        union config_value value;
        struct buf why = { 0 };
        memset(&value, 0, sizeof value);
        struct resp_arg preset = { row->preset, strlen(row->preset) };
        if (!config_value_parse(row, &value, &preset, 1, &why))
            fail_msg("%s: %s", row->name, why.data);
        config_value_release(row, &value);
        buf_release(&why);
    }
}

static void test_defaults(void **state)
{
    (void)state;
    struct config *c = config_new();
    assert_int_equal(c->port, 6379);
    assert_int_equal(c->bind.n, 2);
    assert_string_equal(c->bind.items[1], "-::*");
    assert_string_equal(c->unixsocket, "");
    assert_true(c->protected_mode);
    assert_int_equal(c->proto_max_bulk_len, 512 << 20);
    assert_int_equal(c->client_output_buffer_limit.of[CONFIG_PUBSUB].soft, 8 << 20);
    assert_int_equal(c->latency_tracking_info_percentiles.n, 3);
    assert_null(config_file(c));
    config_free(c);
    config_free(NULL);
}

/* vecstore.conf as it lies in the tree is what the table says, and reading it gives the
 * defaults. */
static void test_default_file(void **state)
{
    (void)state;
    struct buf text = { 0 }, again = { 0 };
    config_default_file(&text);
    struct config *c = config_new(), *defaults = config_new();
    struct buf error = { 0 };
    if (!config_load_text(c, "default", text.data, text.len, &error))
        fail_msg("%s", error.data);
    for (size_t i = 0; i < config_table_size; i++) {
        const struct config_row *row = &config_table[i];
        if (row->type != CONFIG_DIRECTORY)
            assert_true(config_value_equal(row, config_field(c, row), config_field(defaults, row)));
    }
    /* Every line fits the page. */
    size_t column = 0;
    for (size_t i = 0; i < text.len; i++) {
        column = text.data[i] == '\n' ? 0 : column + 1;
        assert_true(column <= 100);
    }
    if (access("vecstore.conf", R_OK) == 0) {
        assert_true(config_read_file("vecstore.conf", false, &again, &error));
        if (again.len != text.len || memcmp(again.data, text.data, text.len) != 0)
            fail_msg("vecstore.conf is not what the table of settings says");
    }
    config_free(c);
    config_free(defaults);
    buf_release(&error);
    buf_release(&again);
    buf_release(&text);
}

/* ---- files and command line ---- */

static void test_file_grammar(void **state)
{
    (void)state;
    struct config *c = config_new();
    expect_load(c,
                "# comment\n\n   # another\r\n\tPORT 7000\r\nbind 127.0.0.1 \"::1\"\nlogfile \"a "
                "b\\x21\"\nsyslog-ident 'it\\'s'\n"
                "client-output-buffer-limit pubsub 1 2 3\nclient-output-buffer-limit replica 1kb "
                "2K 4\nunixsocketperm 700\n"
                "latency-tracking-info-percentiles 50 99.5 100\nproto-max-bulk-len "
                "2MB\nrequirepass \"\"\nloglevel DEBUG\n"
                "port 7001",
                NULL);
    assert_int_equal(c->port, 7001);
    assert_int_equal(c->bind.n, 2);
    assert_string_equal(c->logfile, "a b!");
    assert_string_equal(c->syslog_ident, "it's");
    assert_int_equal(c->client_output_buffer_limit.of[CONFIG_PUBSUB].seconds, 3);
    assert_int_equal(c->client_output_buffer_limit.of[CONFIG_REPLICA].hard, 1024);
    assert_int_equal(c->client_output_buffer_limit.of[CONFIG_REPLICA].soft, 2000);
    assert_int_equal(c->client_output_buffer_limit.of[CONFIG_NORMAL].hard, 0);
    assert_int_equal(c->unixsocketperm, 0700);
    assert_true(c->latency_tracking_info_percentiles.at[1] == 99.5);
    assert_int_equal(c->proto_max_bulk_len, 2 << 20);
    assert_int_equal(c->loglevel, 0);
    config_free(c);
}

static void test_saves(void **state)
{
    (void)state;
    struct config *c = config_new();
    expect_get(c, "save", "save=3600 1 300 100 60 10000;");
    /* Lines add up, the first takes the default's place. */
    expect_load(c, "save 900 1\nport 7000\nsave 300 10 60 1000\n", NULL);
    expect_get(c, "save", "save=900 1 300 10 60 1000;");
    expect_load(c, "save \"\"\n", NULL);
    expect_get(c, "save", "save=;");
    expect_load(c, "save 900 1\n", NULL);
    expect_get(c, "save", "save=900 1;");
    expect_set(c, "save '3600 5'", NULL);
    expect_get(c, "save", "save=3600 5;");
    expect_set(c, "save ''", NULL);
    expect_get(c, "save", "save=;");
    expect_set(c, "save '60'", FAILED("save", "Invalid save parameters"));
    expect_set(c, "save '0 1'", FAILED("save", "Invalid save parameters"));
    expect_set(c, "save '60 -1'", FAILED("save", "Invalid save parameters"));
    expect_set(c, "save '1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1'",
               FAILED("save", "too many save points: 16 are allowed"));
    expect_set(c, "shutdown-on-sigterm 'nosave now'", NULL);
    assert_int_equal(c->shutdown_on_sigterm.n, 2);
    expect_set(c, "shutdown-on-sigterm 'nosave sometimes'",
               FAILED("shutdown-on-sigterm", "argument(s) must be one of the following: default, "
                                             "save, nosave, now, force"));
    expect_load(c, "dbfilename a/b.rdb\n",
                "x.conf:1: 'dbfilename': argument must be the name of a file, without a path");
    expect_load(c, "dbfilename ..\n",
                "x.conf:1: 'dbfilename': argument must be the name of a file, without a path");
    expect_load(c, "appendfilename \"\"\n",
                "x.conf:1: 'appendfilename': argument must be the name of a file, without a path");
    config_free(c);
}

static void test_file_errors(void **state)
{
    static const struct {
        const char *text, *error;
    } cases[] = {
        { "\nprot 7000\n", "x.conf:2: 'prot': Bad directive or wrong number of arguments" },
        { "port\n", "x.conf:1: 'port': wrong number of arguments" },
        { "port 1 2\n", "x.conf:1: 'port': wrong number of arguments" },
        { "port x\n", "x.conf:1: 'port': argument couldn't be parsed into an integer" },
        { "port 70000\n", "x.conf:1: 'port': argument must be between 0 and 65535 inclusive" },
        { "port 99999999999999999999\n",
          "x.conf:1: 'port': argument couldn't be parsed into an integer" },
        { "daemonize maybe\n", "x.conf:1: 'daemonize': argument must be 'yes' or 'no'" },
        { "supervised me\n", "x.conf:1: 'supervised': argument(s) must be one of the following: "
                             "no, auto, systemd, upstart" },
        { "proto-max-bulk-len 1tb\n",
          "x.conf:1: 'proto-max-bulk-len': argument must be a memory value" },
        { "proto-max-bulk-len -1\n",
          "x.conf:1: 'proto-max-bulk-len': argument must be a memory value" },
        { "proto-max-bulk-len 9223372036854775807gb\n",
          "x.conf:1: 'proto-max-bulk-len': argument must be a memory value" },
        { "proto-max-bulk-len 1kb\n", "x.conf:1: 'proto-max-bulk-len': argument must be between "
                                      "1048576 and 9223372036854775807 inclusive" },
        { "unixsocketperm 888\n",
          "x.conf:1: 'unixsocketperm': argument couldn't be parsed as an octal number" },
        { "unixsocketperm 1000\n",
          "x.conf:1: 'unixsocketperm': argument must be between 0 and 777 inclusive" },
        { "client-output-buffer-limit normal 0 0\n",
          "x.conf:1: 'client-output-buffer-limit': Wrong number of arguments in buffer limit "
          "configuration." },
        { "client-output-buffer-limit master 0 0 0\n",
          "x.conf:1: 'client-output-buffer-limit': Invalid client class specified in buffer limit "
          "configuration." },
        { "client-output-buffer-limit normal 0 x 0\n",
          "x.conf:1: 'client-output-buffer-limit': Error in hard, soft or soft_seconds setting in "
          "buffer limit configuration." },
        { "latency-tracking-info-percentiles 101\n",
          "x.conf:1: 'latency-tracking-info-percentiles': latency-tracking-info-percentiles should "
          "be numbers between 0.0 and 100.0" },
        { "logfile \"a\\x00b\"\n", "x.conf:1: 'logfile': argument must not contain a zero byte" },
        { "logfile \"a\n", "x.conf:1: Unbalanced quotes in configuration line" },
        { "requirepass a secret\n", "x.conf:1: 'requirepass': wrong number of arguments" },
        { "dir /does/not/exist\n", "x.conf:1: 'dir': No such file or directory" },
        { "include /does/not/exist.conf\n",
          "x.conf:1: 'include': can't find config file '/does/not/exist.conf'" },
        { "include\n", "x.conf:1: 'include': Bad directive or wrong number of arguments" },
        { "\x01\"b c\" d\n", "x.conf:1: '?b?c': Bad directive or wrong number of arguments" },
        { "bind 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17\n",
          "x.conf:1: 'bind': too many arguments: 16 are allowed" },
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct config *c = config_new();
        expect_load(c, cases[i].text, cases[i].error);
        assert_int_equal(c->port, 6379);
        config_free(c);
    }
}

static void test_include(void **state)
{
    (void)state;
    char text[1024], want[1024];
    struct buf error = { 0 };
    struct config *c = config_new();
    write_file(in_folder("one.inc"), "port 1\ntimeout 5\n");
    write_file(in_folder("two.inc"), "port 2\n");
    snprintf(text, sizeof text, "include %s\nmaxclients 7\ninclude %s\n", in_folder("*.inc"),
             in_folder("none*.inc"));
    write_file(in_folder("main.conf"), text);
    assert_true(config_load_file(c, in_folder("main.conf"), &error));
    assert_int_equal(c->port, 2);
    assert_int_equal(c->timeout, 5);
    assert_int_equal(c->maxclients, 7);
    assert_string_equal(config_file(c), in_folder("main.conf"));
    /* The place of a fault is the included file's. */
    write_file(in_folder("two.inc"), "\nport x\n");
    assert_false(config_load_file(c, in_folder("main.conf"), &error));
    snprintf(want, sizeof want, "%s:2: 'port': argument couldn't be parsed into an integer",
             in_folder("two.inc"));
    assert_string_equal(error.data, want);
    /* A file that includes itself, even twice, ends. */
    snprintf(text, sizeof text, "include %s\ninclude %s\n", in_folder("self.conf"),
             in_folder("self.conf"));
    write_file(in_folder("self.conf"), text);
    assert_false(config_load_file(c, in_folder("self.conf"), &error));
    assert_non_null(strstr(error.data, "includes are nested more than 16 deep"));
    snprintf(text, sizeof text, "include %s\n", folder);
    expect_load(
        c, text,
        (snprintf(want, sizeof want, "x.conf:1: 'include': '%s' is not a file", folder), want));
    assert_false(config_load_file(c, in_folder("absent.conf"), &error));
    snprintf(want, sizeof want, "can't open config file '%s': No such file or directory",
             in_folder("absent.conf"));
    assert_string_equal(error.data, want);
    config_free(c);
    buf_release(&error);
}

static void test_args(void **state)
{
    (void)state;
    write_file(in_folder("args.conf"), "port 1\nmaxclients 9\n");
    char file[512];
    snprintf(file, sizeof file, "%s", in_folder("args.conf"));
    const char *good[] = { file,           "--port",    "7000",
                           "--loglevel",   "debug",     "--bind",
                           "127.0.0.1",    "::1",       "--client-output-buffer-limit",
                           "normal 1 2 3", "--logfile", "" };
    struct config *c = config_new();
    expect_args(c, sizeof good / sizeof *good, good, NULL);
    assert_int_equal(c->port, 7000);
    assert_int_equal(c->maxclients, 9);
    assert_int_equal(c->bind.n, 2);
    assert_int_equal(c->client_output_buffer_limit.of[CONFIG_NORMAL].hard, 1);
    assert_string_equal(config_file(c), file);
    config_free(c);
    c = config_new();
    expect_args(c, 0, NULL, NULL);
    expect_args(c, 2, (const char *[]){ "--port", "x" },
                "command line: 'port': argument couldn't be parsed into an integer");
    expect_args(c, 1, (const char *[]){ "--port" },
                "command line: 'port': wrong number of arguments");
    expect_args(c, 2, (const char *[]){ "--prot", "1" },
                "command line: 'prot': Bad directive or wrong number of arguments");
    expect_args(c, 1, (const char *[]){ "--" }, "'--' is not of the form --setting value");
    expect_args(c, 2, (const char *[]){ "-p", "1" }, "'-p' is not of the form --setting value");
    config_free(c);
}

/* ---- CONFIG GET and SET ---- */

static void test_get(void **state)
{
    (void)state;
    struct config *c = config_new();
    expect_get(c, "port", "port=6379;");
    expect_get(c, "PORT p?rt [p]ort", "port=6379;");
    expect_get(c, "nothing-such", "");
    expect_get(c, "bind unixsocketperm", "bind=* -::*;unixsocketperm=0;");
    expect_get(c, "client-output-buffer-limit",
               "client-output-buffer-limit=normal 0 0 0 slave 268435456 67108864 60 pubsub "
               "33554432 8388608 60;");
    expect_get(c, "*query-buffer* requirepass loglevel",
               "client-query-buffer-limit=1073741824;requirepass=;loglevel=notice;");
    expect_get(c, "latency-tracking-info-percentiles",
               "latency-tracking-info-percentiles=50 99 99.9;");
    struct resp_arg all = { "*", 1 };
    size_t names = 0;
    for (size_t i = 0; i < config_table_size; i++)
        names += config_table[i].alias ? 2 : 1;
    assert_int_equal(config_get(c, &all, 1, NULL, NULL), names);
    config_free(c);
}

struct heard {
    struct config *config;
    const char *refuse; /* the reason, or NULL */
    int calls;
    long long port; /* as of the last call */
    char name[64];
};

static bool listen_port(void *arg, const char *name, const char **why)
{
    struct heard *h = arg;
    h->calls++;
    h->port = h->config->port;
    snprintf(h->name, sizeof h->name, "%s", name);
    if (!h->refuse)
        return true;
    *why = h->refuse;
    return false;
}

static bool listen_level(void *arg, const char *name, const char **why)
{
    return listen_port(arg, name, why);
}

static void test_set(void **state)
{
    (void)state;
    struct config *c = config_new();
    expect_set(c, "timeout 10 maxclients 20 requirepass secret", NULL);
    assert_int_equal(c->timeout, 10);
    assert_int_equal(c->maxclients, 20);
    assert_string_equal(c->requirepass, "secret");
    expect_set(c, "requirepass \"\"", NULL);
    assert_string_equal(c->requirepass, "");
    expect_set(c, "client-output-buffer-limit 'pubsub 1mb 2 3 slave 4 5 6'", NULL);
    assert_int_equal(c->client_output_buffer_limit.of[CONFIG_PUBSUB].hard, 1 << 20);
    assert_int_equal(c->client_output_buffer_limit.of[CONFIG_REPLICA].hard, 4);
    expect_set(c, "latency-tracking-info-percentiles ''", NULL);
    assert_int_equal(c->latency_tracking_info_percentiles.n, 0);
    /* All or none. */
    expect_set(c, "timeout 11 maxclients x",
               FAILED("maxclients", "argument couldn't be parsed into an integer"));
    expect_set(c, "timeout 11 maxclients 0",
               FAILED("maxclients", "argument must be between 1 and 1000000 inclusive"));
    expect_set(c, "timeout 11 TIMEOUT 12", FAILED("TIMEOUT", "duplicate parameter"));
    expect_set(c, "timeout 11 databases 3", FAILED("databases", "can't set immutable config"));
    expect_set(c, "timeout 11 nonsense 3",
               "ERR Unknown option or number of arguments for CONFIG SET - 'nonsense'");
    assert_int_equal(c->timeout, 10);
    config_free(c);
}

static void test_listeners(void **state)
{
    (void)state;
    struct config *c = config_new();
    struct heard port = { .config = c }, level = { .config = c };
    expect_set(c, "port 7000", FAILED("port", "can't set immutable config"));
    config_on_change(c, "port", listen_port, &port);
    config_on_change(c, "bind", listen_port, &port);
    config_on_change(c, "loglevel", listen_level, &level);
    expect_set(c, "port 7000", NULL);
    assert_int_equal(port.calls, 1);
    assert_int_equal(port.port, 7000);
    /* Nothing new, nothing to hear. */
    expect_set(c, "port 7000 loglevel notice", NULL);
    assert_int_equal(port.calls + level.calls, 1);
    /* Once for both. */
    expect_set(c, "bind 127.0.0.1 port 7001", NULL);
    assert_int_equal(port.calls, 2);
    assert_string_equal(port.name, "bind");
    expect_set(c, "bind ::1", NULL);
    assert_int_equal(port.calls, 3);
    /* A refusal brings everything back, and whoever had accepted hears of it. */
    level.refuse = "no such level today";
    expect_set(c, "port 7002 loglevel debug timeout 5", FAILED("loglevel", "no such level today"));
    assert_int_equal(port.calls, 5);
    assert_int_equal(port.port, 7001);
    assert_int_equal(c->port, 7001);
    assert_int_equal(c->timeout, 0);
    assert_int_equal(level.calls, 1);
    port.refuse = "occupied";
    expect_set(c, "port 7003 loglevel debug", FAILED("port", "occupied"));
    assert_int_equal(level.calls, 1);
    assert_int_equal(c->port, 7001);
    config_free(c);
}

/* ---- CONFIG REWRITE ---- */

static struct config *load(const char *path)
{
    struct config *c = config_new();
    struct buf error = { 0 };
    if (!config_load_file(c, path, &error))
        fail_msg("%s", error.data);
    buf_release(&error);
    return c;
}

static void rewrite(struct config *c)
{
    struct buf error = { 0 };
    if (!config_rewrite(c, &error))
        fail_msg("%s", error.data);
    buf_release(&error);
}

static void test_rewrite(void **state)
{
    (void)state;
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("rewrite.conf"));
    const char *first = "# mine\n\nport   7000\n  timeout 5\nproto-max-bulk-len 1024kb\n# "
                        "between\ntimeout 6\nlogfile 'a b'\n# end";
    write_file(path, first);
    assert_int_equal(chmod(path, 0640), 0);
    struct config *c = load(path);
    rewrite(c);
    /* The first `timeout` says what is not in force: it becomes what is, and the second goes. */
    expect_file(path, "# mine\n\nport   7000\ntimeout 6\nproto-max-bulk-len 1024kb\n# "
                      "between\nlogfile 'a b'\n# end\n");
    expect_set(c,
               "maxclients 5 timeout 0 requirepass \"a \\\"b\\\" \\x01\" "
               "client-output-buffer-limit 'normal 1mb 0 0'",
               NULL);
    rewrite(c);
    const char *want =
        "# mine\n\nport   7000\ntimeout 0\nproto-max-bulk-len 1024kb\n# between\nlogfile 'a b'\n# "
        "end\n"
        "# Generated by CONFIG REWRITE\nmaxclients 5\nclient-output-buffer-limit normal 1mb 0 0\n"
        "client-output-buffer-limit replica 256mb 64mb 60\nclient-output-buffer-limit pubsub 32mb "
        "8mb 60\n"
        "requirepass \"a \\\"b\\\" \\x01\"\n";
    expect_file(path, want);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    rewrite(c);
    expect_file(path, want);
    struct config *again = load(path);
    for (size_t i = 0; i < config_table_size; i++)
        assert_true(config_value_equal(&config_table[i], config_field(c, &config_table[i]),
                                       config_field(again, &config_table[i])));
    config_free(again);
    /* A second addition goes under the same marker. */
    expect_set(c, "slowlog-max-len 9", NULL);
    rewrite(c);
    char more[2048];
    snprintf(more, sizeof more, "%sslowlog-max-len 9\n", want);
    expect_file(path, more);
    config_free(c);
}

static void test_rewrite_include(void **state)
{
    (void)state;
    char text[1024], want[1200], path[512];
    snprintf(path, sizeof path, "%s", in_folder("outer.conf"));
    write_file(in_folder("inner.cfg"), "timeout 3\n");
    snprintf(text, sizeof text, "timeout 1\ninclude %s\n", in_folder("inner.cfg"));
    write_file(path, text);
    struct config *c = load(path);
    expect_set(c, "timeout 8", NULL);
    rewrite(c);
    snprintf(want, sizeof want, "timeout 8\ninclude %s\n# Generated by CONFIG REWRITE\ntimeout 8\n",
             in_folder("inner.cfg"));
    expect_file(path, want);
    struct config *again = load(path);
    assert_int_equal(again->timeout, 8);
    config_free(again);
    config_free(c);
}

static void test_rewrite_errors(void **state)
{
    (void)state;
    struct config *c = config_new();
    struct buf error = { 0 };
    assert_false(config_rewrite(c, &error));
    assert_string_equal(error.data, "The server is running without a config file");
    config_free(c);
    char path[512];
    snprintf(path, sizeof path, "%s", in_folder("broken.conf"));
    write_file(path, "timeout 1\n");
    c = load(path);
    /* Somebody has put something into the file since that it does not understand: leave it
     * alone. */
    write_file(path, "timeout 2\nwhatever\n");
    assert_false(config_rewrite(c, &error));
    expect_file(path, "timeout 2\nwhatever\n");
    /* A file that went away is made again. */
    unlink(path);
    assert_true(config_rewrite(c, &error));
    expect_file(path, "# Generated by CONFIG REWRITE\ntimeout 1\n");
    config_free(c);
    buf_release(&error);
}

/* A disk that takes no more: the old file stays whole, and nothing lies beside it. */
static void test_rewrite_no_room(void **state)
{
    (void)state;
    struct buf error = { 0 };
    struct rlimit old, none;
    char path[512], want[600];
    snprintf(path, sizeof path, "%s", in_folder("full.conf"));
    write_file(path, "timeout 1\n");
    struct config *c = load(path);
    expect_set(c, "timeout 2", NULL);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    none = old;
    none.rlim_cur = 3;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    bool ok = config_rewrite(c, &error);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_false(ok);
    snprintf(want, sizeof want, "can't write '%s.%ld.tmp': File too large", path, (long)getpid());
    assert_string_equal(error.data, want);
    expect_file(path, "timeout 1\n");
    rewrite(c);
    expect_file(path, "timeout 2\n");
    config_free(c);
    buf_release(&error);
}

static int make_folder(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/vecstore-config-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder))
        return -1;
    char *absolute = realpath(folder, NULL);
    snprintf(folder, sizeof folder, "%s", absolute);
    free(absolute);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = { "one.inc",    "two.inc",   "main.conf",
                                         "self.conf",  "args.conf", "rewrite.conf",
                                         "outer.conf", "inner.cfg", "broken.conf", "full.conf" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(in_folder(names[i]));
    /* Nothing else is left: no file from aside. */
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_saves),
        cmocka_unit_test(test_default_file),
        cmocka_unit_test(test_file_grammar),
        cmocka_unit_test(test_file_errors),
        cmocka_unit_test(test_include),
        cmocka_unit_test(test_args),
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_rewrite),
        cmocka_unit_test(test_rewrite_include),
        cmocka_unit_test(test_rewrite_errors),
        cmocka_unit_test(test_rewrite_no_room),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
