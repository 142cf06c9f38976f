/* One table: name, what follows it, where it goes, and the line of --help. */
#include "benchmark/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "benchmark/parallel.h"
#include "benchmark/vecfile.h"

enum kind {
    KIND_TEXT,
    KIND_UNSIGNED,
    KIND_SIZE,
    KIND_U64,
    KIND_FLAG,
    KIND_METRIC,
    KIND_SHARE,
    KIND_EF,
    KIND_TYPE,
    KIND_HELP,
    KIND_VERSION,
    KIND_TITLE
};

struct option_row {
    const char *name;  /* with its dashes; several separated by a blank */
    const char *value; /* what follows, for the help */
    enum kind kind;
    size_t offset;
    uint64_t min, max;
    const char *help;
};

#define AT(field) offsetof(struct options, field)

static const struct option_row table[] = {
    {"The server", NULL, KIND_TITLE, 0, 0, 0, NULL},
    {"-h --host", "HOST", KIND_TEXT, AT(host), 0, 0, "server's host name (127.0.0.1)"},
    {"-p --port", "PORT", KIND_UNSIGNED, AT(port), 1, 65535, "server's port (6379)"},
    {"-s --socket", "PATH", KIND_TEXT, AT(socket), 0, 0, "unix socket instead of host and port"},
    {"-a --password", "PASSWORD", KIND_TEXT, AT(password), 0, 0,
     "password (or environment REDISCLI_AUTH)"},
    {"--user", "NAME", KIND_TEXT, AT(user), 0, 0, "user name for AUTH, with -a"},
    {"--dbnum", "DB", KIND_UNSIGNED, AT(db), 0, 65535, "database (0)"},
    {"-c --clients", "N", KIND_UNSIGNED, AT(clients), 1, 10000, "parallel connections (4)"},
    {"-P --pipeline", "N", KIND_UNSIGNED, AT(pipeline), 1, 65536,
     "commands in flight on each connection (16)"},
    {"--key", "KEY", KIND_TEXT, AT(key), 0, 0, "key of the index (vecstore-benchmark)"},
    {"--flush", NULL, KIND_FLAG, AT(flush), 0, 0, "delete the key first, when it is there"},
    {"--keep", NULL, KIND_FLAG, AT(keep), 0, 0, "leave the index on the server afterwards"},
    {"--load-only", NULL, KIND_FLAG, AT(load_only), 0, 0, "load, do not search (implies --keep)"},
    {"--search-only", NULL, KIND_FLAG, AT(search_only), 0, 0,
     "search what an earlier --keep left (same vectors, same key)"},
    {"--vmadd", "N", KIND_UNSIGNED, AT(vmadd), 1, 100000,
     "load by VMADD, N vectors at a time, instead of VADD"},

    {"The vectors: from files (.fvecs, .bvecs, .ivecs, .npy, each also .zst), or made up", NULL,
     KIND_TITLE, 0, 0, 0, NULL},
    {"--base", "FILE", KIND_TEXT, AT(base), 0, 0, "vectors to load"},
    {"--query", "FILE", KIND_TEXT, AT(query), 0, 0,
     "vectors to search for (without: rows held back from the base)"},
    {"--truth", "FILE", KIND_TEXT, AT(truth), 0, 0,
     "exact neighbours, as row numbers (without: computed)"},
    {"--rows", "N", KIND_SIZE, AT(rows), 1, UINT32_MAX, "only the first N vectors of the base"},
    {"--generate", "N", KIND_SIZE, AT(generate), 1, UINT32_MAX,
     "make N clustered vectors instead of reading (10000)"},
    {"--dim", "N", KIND_UNSIGNED, AT(dim), 1, VECFILE_DIM_MAX, "their dimension (128)"},
    {"--intrinsic", "N", KIND_UNSIGNED, AT(intrinsic), 1, 4096,
     "their latent dimension: how hard they are (36 cosine, 12 else)"},
    {"--clusters", "N", KIND_UNSIGNED, AT(clusters), 1, 65536,
     "their clusters (20 cosine, 256 else)"},
    {"--seed", "N", KIND_U64, AT(seed), 0, UINT64_MAX, "their seed (1)"},
    {"--queries", "N", KIND_SIZE, AT(queries), 1, 10000000,
     "queries to make, read or hold back (1000)"},
    {"--metric", "METRIC", KIND_METRIC, AT(metric), 0, 0,
     "cosine, l2 or ip (l2 for files of bytes, else cosine)"},
    {"--export", "PREFIX", KIND_TEXT, AT(export_prefix), 0, 0,
     "only write PREFIX.base.fvecs, .query.fvecs and .truth.ivecs (100 neighbours)"},

    {"The index", NULL, KIND_TITLE, 0, 0, 0, NULL},
    {"--m", "N", KIND_UNSIGNED, AT(m), 4, 4096, "links a node (16)"},
    {"--ef-construction", "N", KIND_UNSIGNED, AT(ef_construction), 1, 1000000,
     "beam while building (200)"},
    {"--type", "TYPE", KIND_TYPE, AT(type), 0, 0, "q8, f32, f16, bf16, q4 or bin (q8)"},
    {"--flat", NULL, KIND_FLAG, AT(flat), 0, 0, "no graph: exact search"},
    {"--partitions", "N", KIND_UNSIGNED, AT(partitions), 1, 4096, "partitions (1)"},

    {"The searches", NULL, KIND_TITLE, 0, 0, 0, NULL},
    {"-k --k", "N", KIND_UNSIGNED, AT(k), 1, 10000, "neighbours asked for (10)"},
    {"--ef", "LIST", KIND_EF, 0, 0, 0, "beams to search with (10,20,40,80,160,320)"},
    {"-n", "N", KIND_SIZE, AT(requests), 1, 1000000000,
     "searches at each EF (each query once, 10000 at least)"},
    {"--repeat", "N", KIND_UNSIGNED, AT(repeat), 1, 1000,
     "measure each EF, or run each probe, N times, interleaved; medians are shown (1)"},

    {"Probes of a server, instead of the searches; at the least EF that has the recall", NULL,
     KIND_TITLE, 0, 0, 0, NULL},
    {"--probe-single", NULL, KIND_FLAG, AT(probe_single), 0, 0,
     "one connection, no pipeline: p50 beside the same search in process and PING"},
    {"--probe-ping", NULL, KIND_FLAG, AT(probe_ping), 0, 0,
     "PING while -c times -P searches run, beside an idle echo process"},
    {"--probe-mixed", NULL, KIND_FLAG, AT(probe_mixed), 0, 0,
     "searches beside a writer: at half the building rate, and as fast as it can"},
    {"--at-recall", "R", KIND_SHARE, AT(at_recall), 0, 0, "the recall (0.95)"},
    {"--pings", "N", KIND_SIZE, AT(pings), 100, 10000000, "PINGs of --probe-ping (10000)"},

    {"This program", NULL, KIND_TITLE, 0, 0, 0, NULL},
    {"--in-process", NULL, KIND_FLAG, AT(in_process), 0, 0,
     "no server: the engine inside this program"},
    {"--threads", "N", KIND_UNSIGNED, AT(threads), 1, 256,
     "threads that build and search in process (all processors)"},
    {"--sweep-threads", NULL, KIND_FLAG, AT(sweep_threads), 0, 0,
     "in process: search with 1, 2, 4 .. --threads threads, not only 1 and all"},
    {"--build-once", NULL, KIND_FLAG, AT(build_once), 0, 0,
     "in process: build with --threads only, not first with one"},
    {"--ms", "N", KIND_UNSIGNED, AT(milliseconds), 1, 3600000,
     "in process: search so long at each EF; --probe-mixed: length of a phase (500)"},
    {"--json", "FILE", KIND_TEXT, AT(json), 0, 0,
     "write the results there, too (-: standard output, no table)"},
    {"-q --quiet", NULL, KIND_FLAG, AT(quiet), 0, 0, "no progress"},
    {"--help", NULL, KIND_HELP, 0, 0, 0, "this text"},
    {"--version", NULL, KIND_VERSION, 0, 0, 0, "the version"},
};

#define ROWS (sizeof table / sizeof *table)

static void print_help(void)
{
    printf("vecstore-benchmark: loads vectors into a VecStore server and searches them, knowing "
           "recall.\n"
           "\nUsage: vecstore-benchmark [options]\n");
    for (size_t i = 0; i < ROWS; i++) {
        char left[64];

        if (table[i].kind == KIND_TITLE) {
            printf("\n%s\n", table[i].name);
            continue;
        }
        snprintf(left, sizeof left, "%s %s", table[i].name, table[i].value ? table[i].value : "");
        printf("  %-24s %s\n", left, table[i].help);
    }
    printf("\nExamples\n"
           "  vecstore-benchmark                                  10,000 made-up vectors of 128 "
           "dimensions\n"
           "  vecstore-benchmark --generate 50000 --dim 512 --ef 40,80,160 -c 64 -P 1\n"
           "  vecstore-benchmark --base sift.base.fvecs --query sift.query.fvecs --truth "
           "sift.truth.ivecs --metric l2\n"
           "  vecstore-benchmark --in-process --generate 200000 --threads 2\n");
}

static bool names(const struct option_row *row, const char *word)
{
    size_t len = strlen(word);
    const char *at = row->name;

    while ((at = strstr(at, word)) != NULL) {
        if ((at == row->name || at[-1] == ' ') && (at[len] == ' ' || at[len] == 0))
            return row->kind != KIND_TITLE;
        at += len;
    }
    return false;
}

static bool parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out)
{
    char *end;
    unsigned long long value;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end || value < min || value > max)
        return false;
    *out = value;
    return true;
}

static bool parse_ef(const char *text, struct options *o)
{
    o->nef = 0;
    while (*text) {
        char one[16];
        size_t len = strcspn(text, ",");
        uint64_t value;

        if (len >= sizeof one || o->nef == OPTIONS_EF_MAX)
            return false;
        memcpy(one, text, len);
        one[len] = 0;
        if (!parse_number(one, 1, 1000000, &value))
            return false;
        o->ef[o->nef++] = (unsigned)value;
        text += len;
        if (*text == ',' && *++text == 0)
            return false;
    }
    return o->nef > 0;
}

static bool parse_metric(const char *text, enum vec_metric *out)
{
    static const char *const metric_names[] = {
        [VEC_COSINE] = "cosine", [VEC_L2] = "l2", [VEC_IP] = "ip"};

    for (int m = 0; m < VEC_METRICS; m++)
        if (strcasecmp(text, metric_names[m]) == 0) {
            *out = (enum vec_metric)m;
            return true;
        }
    return false;
}

static bool parse_share(const char *text, double *out)
{
    char *end;
    double value = strtod(text, &end);

    if (*text < '0' || *text > '9' || *end || !(value > 0 && value < 1))
        return false;
    *out = value;
    return true;
}

/* NULL, or what the value should have been. */
static const char *set(const struct option_row *row, const char *text, struct options *o)
{
    static char expected[96];
    void *at = (char *)o + row->offset;
    uint64_t value = 0;

    switch (row->kind) {
    case KIND_TEXT: *(const char **)at = text; return NULL;
    case KIND_FLAG: *(bool *)at = true; return NULL;
    case KIND_METRIC: return parse_metric(text, at) ? NULL : "cosine, l2 or ip";
    case KIND_SHARE: return parse_share(text, at) ? NULL : "a number between 0 and 1";
    case KIND_EF:
        return parse_ef(text, o) ? NULL : "numbers of 1 to 1000000 separated by commas, 32 at most";
    case KIND_TYPE:
        for (int t = 0; t < VEC_TYPES; t++)
            if (strcasecmp(text, vec_type_name((enum vec_type)t)) == 0) {
                o->type = (enum vec_type)t;
                return NULL;
            }
        return "q8, f32, f16, bf16, q4 or bin";
    default: break;
    }
    if (!parse_number(text, row->min, row->max, &value)) {
        snprintf(expected, sizeof expected, "a number of %llu to %llu",
                 (unsigned long long)row->min, (unsigned long long)row->max);
        return expected;
    }
    if (row->kind == KIND_UNSIGNED)
        *(unsigned *)at = (unsigned)value;
    else if (row->kind == KIND_SIZE)
        *(size_t *)at = (size_t)value;
    else
        *(uint64_t *)at = value;
    return NULL;
}

static void set_defaults(struct options *o)
{
    static const unsigned ef[] = {10, 20, 40, 80, 160, 320};

    *o = (struct options){.host = "127.0.0.1",
                          .port = 6379,
                          .clients = 4,
                          .pipeline = 16,
                          .key = "vecstore-benchmark",
                          .password = getenv("REDISCLI_AUTH"),
                          .queries = 1000,
                          .dim = 128,
                          .seed = 1,
                          .m = 16,
                          .ef_construction = 200,
                          .partitions = 1,
                          .type = VEC_Q8,
                          .k = 10,
                          .repeat = 1,
                          .milliseconds = 500,
                          .at_recall = 0.95,
                          .pings = 10000,
                          .metric = VEC_METRICS,
                          .threads = parallel_processors()};
    memcpy(o->ef, ef, sizeof ef);
    o->nef = sizeof ef / sizeof *ef;
}

static const char *contradiction(const struct options *o)
{
    if (o->base && o->generate)
        return "--base and --generate exclude each other";
    if (!o->base && (o->query || o->truth))
        return "--query and --truth need --base";
    if (o->load_only && o->search_only)
        return "--load-only and --search-only exclude each other";
    if ((o->probe_single || o->probe_ping || o->probe_mixed) && (o->in_process || o->load_only))
        return "--probe-... need a server and searches";
    if (o->in_process && (o->load_only || o->search_only || o->vmadd || o->socket))
        return "--in-process has no server to load or to search alone";
    return NULL;
}

static void finish(struct options *o)
{
    if (!o->base && !o->generate)
        o->generate = 10000;
    if (o->metric == VEC_METRICS)
        o->metric = o->base && strstr(o->base, ".bvecs") ? VEC_L2 : VEC_COSINE;
    if (o->load_only)
        o->keep = true;
}

bool options_parse(int argc, char **argv, struct options *o, int *status)
{
    const char *wrong;

    set_defaults(o);
    *status = 2;
    for (int i = 1; i < argc; i++) {
        const struct option_row *row = NULL;

        for (size_t r = 0; r < ROWS && !row; r++)
            if (names(&table[r], argv[i]))
                row = &table[r];
        if (!row) {
            fprintf(stderr, "vecstore-benchmark: unknown option '%s' (--help lists them)\n",
                    argv[i]);
            return false;
        }
        if (row->kind == KIND_HELP || row->kind == KIND_VERSION) {
            if (row->kind == KIND_HELP)
                print_help();
            else
                printf("vecstore-benchmark %s\n", VS_VERSION);
            *status = 0;
            return false;
        }
        if (row->value && i + 1 >= argc) {
            fprintf(stderr, "vecstore-benchmark: %s needs %s after it\n", argv[i], row->value);
            return false;
        }
        if ((wrong = set(row, row->value ? argv[i + 1] : "", o)) != NULL) {
            fprintf(stderr, "vecstore-benchmark: %s takes %s, not '%s'\n", argv[i], wrong,
                    argv[i + 1]);
            return false;
        }
        i += row->value != NULL;
    }
    if ((wrong = contradiction(o)) != NULL) {
        fprintf(stderr, "vecstore-benchmark: %s\n", wrong);
        return false;
    }
    finish(o);
    return true;
}
