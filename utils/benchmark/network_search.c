/* Searching over the network: every query in turn, each EF on its own. */
#include <stdio.h>

#include "base/mem.h"
#include "benchmark/network_in.h"
#include "benchmark/reply.h"
#include "benchmark/traffic.h"
#include "benchmark/truth.h"

#define SEARCHES_MIN 10000
#define K_MAX 10000 /* as the option's table has it */

struct search_job {
    const struct bench *b;
    struct buf prefix, suffix;
    size_t hits;
};

static size_t build_search(void *arg, size_t request, struct iovec *out)
{
    const struct search_job *job = arg;
    const struct vecfile_floats *query = &job->b->d->query;

    out[0] = network_piece(job->prefix.data, job->prefix.len);
    out[1] = network_piece(query->data + request % query->rows * query->cols,
                           query->cols * sizeof(float));
    out[2] = network_piece(job->suffix.data, job->suffix.len);
    return 3;
}

static bool reply_search(void *arg, size_t request, const char *reply, size_t len)
{
    struct search_job *job = arg;
    const struct dataset *d = job->b->d;
    size_t k = job->b->o->k;
    int32_t rows[K_MAX];
    long n = reply_rows(reply, len, rows, K_MAX);
    const char *text;
    size_t text_len;

    if (n < 0 && reply_error(reply, len, &text, &text_len))
        return network_complain("the server says: %.*s", (int)(text_len < 300 ? text_len : 300),
                                text);
    if (n < 0)
        return network_complain(
            "a search answers with what this program did not load (another index under the key?)");
    job->hits += truth_hits(&d->truth, request % d->query.rows, k, rows, (size_t)n);
    return true;
}

static void search_text(const struct bench *b, unsigned ef, struct search_job *job)
{
    char number[24];

    buf_puts(&job->prefix, "*8\r\n");
    network_put_argument(&job->prefix, "VSEARCH");
    network_put_argument(&job->prefix, b->o->key);
    network_put_argument(&job->prefix, "FP32");
    buf_printf(&job->prefix, "$%zu\r\n", b->d->query.cols * sizeof(float));
    buf_puts(&job->suffix, "\r\n");
    network_put_argument(&job->suffix, "K");
    snprintf(number, sizeof number, "%u", b->o->k);
    network_put_argument(&job->suffix, number);
    network_put_argument(&job->suffix, "EF");
    snprintf(number, sizeof number, "%u", ef);
    network_put_argument(&job->suffix, number);
}

bool network_search_run(const struct bench *b, const struct search_load *load,
                        struct search_result *out)
{
    struct search_job pieces = {.b = b};
    size_t done = 0, k = b->o->k < b->d->truth.cols ? b->o->k : b->d->truth.cols;
    struct traffic_job job = {.requests = load->requests,
                              .max_pieces = 3,
                              .build = build_search,
                              .reply = reply_search,
                              .arg = &pieces,
                              .label = "searching",
                              .end_ns = load->end_ns,
                              .stop = load->stop};
    double seconds = 0;
    bool good;

    job.latency_ns = mem_try_alloc(load->requests * sizeof *job.latency_ns);
    if (!job.latency_ns)
        return network_complain("no memory for %zu latencies", load->requests);
    search_text(b, load->ef, &pieces);
    good = traffic_run(load->traffic, &job, &seconds, &done);
    if (good) {
        *out = (struct search_result){.ef = load->ef, .qps = (double)done / seconds};
        if (done > 0)
            out->recall = (double)pieces.hits / ((double)done * (double)k);
        if (done > load->warm)
            report_percentiles(job.latency_ns + load->warm, done - load->warm, out);
    }
    buf_release(&pieces.prefix);
    buf_release(&pieces.suffix);
    mem_free(job.latency_ns);
    return good;
}

bool network_search(struct bench *b)
{
    struct search_load load = {.traffic = b->traffic, .requests = b->o->requests};
    size_t n = b->o->nef;
    struct search_result *runs = mem_alloc(b->o->repeat * n * sizeof *runs);
    bool good = true;

    if (!load.requests)
        load.requests = b->d->query.rows > SEARCHES_MIN ? b->d->query.rows : SEARCHES_MIN;
    for (unsigned r = 0; good && r < b->o->repeat; r++)
        for (size_t i = 0; good && i < n; i++) {
            load.ef = b->o->ef[i];
            good = network_search_run(b, &load, &runs[r * n + i]);
        }
    if (good)
        report_add_medians(b->r, runs, b->o->repeat, n);
    mem_free(runs);
    return good;
}
