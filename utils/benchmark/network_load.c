/* Loading over the network. What a request consists of is laid out once: a prefix that all share,
 * the vector where the data set holds it, and a piece of text of its own for each row; traffic.c
 * writes these pieces without copying them. */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "benchmark/network_in.h"
#include "benchmark/progress.h"
#include "benchmark/reply.h"
#include "benchmark/traffic.h"

#define BATCH 256 /* vectors below one batch stay unlinked until more come */
#define SETTLED_NS                                                                                 \
    300000000ull /* several partitions: linking counts as done when nothing has changed for so     \
                    long */
#define STUCK_NS 60000000000ull

struct load_job {
    const struct dataset *d;
    size_t first, rows; /* of the base */
    size_t batch;       /* vectors a request; 0: VADD */
    struct buf prefix, last_prefix;
    char *texts; /* of each of these rows, text_len bytes */
    size_t text_len;
};

/* VADD: after the blob. VMADD: before each blob, closing what stands before it. */
static bool lay_out_texts(struct load_job *job)
{
    size_t n = job->rows, blob = job->d->base.cols * sizeof(float);
    char one[96], id[ID_BYTES + 1];

    job->text_len = 0;
    for (size_t row = 0; row < n; row++) {
        int len;

        id_format((uint32_t)(job->first + row), id);
        if (job->batch)
            len = snprintf(one, sizeof one, "\r\n$%d\r\n%s\r\n$%zu\r\n", ID_BYTES, id, blob);
        else
            len = snprintf(one, sizeof one, "\r\n$%d\r\n%s\r\n", ID_BYTES, id);
        if (!job->texts) {
            job->text_len = (size_t)len;
            job->texts = mem_try_alloc(n * job->text_len);
            if (!job->texts)
                return network_complain("no memory for the ids");
        }
        memcpy(job->texts + row * job->text_len, one, job->text_len);
    }
    return true;
}

static void vmadd_prefix(struct buf *out, const char *key, size_t vectors)
{
    char count[24];

    snprintf(count, sizeof count, "%zu", vectors);
    buf_printf(out, "*%zu\r\n", 4 + 2 * vectors);
    network_put_argument(out, "VMADD");
    network_put_argument(out, key);
    network_put_argument(out, "FP32");
    network_put_argument(out, count);
    out->len -= 2; /* each row's text begins with the line's end */
}

static bool load_prepare(struct bench *b, struct load_job *job)
{
    size_t blob = b->d->base.cols * sizeof(float);

    job->d = b->d;
    if (job->batch) {
        vmadd_prefix(&job->prefix, b->o->key, job->batch);
        vmadd_prefix(&job->last_prefix, b->o->key, job->rows % job->batch);
    } else {
        buf_puts(&job->prefix, "*5\r\n");
        network_put_argument(&job->prefix, "VADD");
        network_put_argument(&job->prefix, b->o->key);
        network_put_argument(&job->prefix, "FP32");
        buf_printf(&job->prefix, "$%zu\r\n", blob);
    }
    return lay_out_texts(job);
}

static void load_release(struct load_job *job)
{
    buf_release(&job->prefix);
    buf_release(&job->last_prefix);
    mem_free(job->texts);
}

static size_t build_load(void *arg, size_t request, struct iovec *out)
{
    const struct load_job *job = arg;
    const struct vecfile_floats *base = &job->d->base;
    size_t blob = base->cols * sizeof(float), n = 0, first = request * job->batch;
    size_t count = job->batch;

    if (!job->batch) {
        out[0] = network_piece(job->prefix.data, job->prefix.len);
        out[1] = network_piece(base->data + (job->first + request) * base->cols, blob);
        out[2] = network_piece(job->texts + request * job->text_len, job->text_len);
        return 3;
    }
    if (job->rows - first < count)
        count = job->rows - first;
    out[n++] = count == job->batch ? network_piece(job->prefix.data, job->prefix.len)
                                   : network_piece(job->last_prefix.data, job->last_prefix.len);
    for (size_t i = 0; i < count; i++) {
        out[n++] = network_piece(job->texts + (first + i) * job->text_len, job->text_len);
        out[n++] = network_piece(base->data + (first + i) * base->cols, blob);
    }
    out[n++] = network_piece("\r\n", 2);
    return n;
}

static bool reply_load(void *arg, size_t request, const char *reply, size_t len)
{
    const char *text;
    size_t text_len;

    (void)arg;
    if (!reply_error(reply, len, &text, &text_len))
        return true;
    return network_complain("request %zu: the server says: %.*s", request,
                            (int)(text_len < 300 ? text_len : 300), text);
}

bool network_wait_linked(struct bench *b, uint64_t *end_ns)
{
    uint64_t changed_ns = clock_mono_ns(), last = UINT64_MAX,
             rest = (BATCH - 1) * (uint64_t)b->o->partitions;
    struct progress progress;

    progress_begin(&progress, "linking", b->d->base.rows, b->o->quiet);
    for (;;) {
        redisReply *reply = network_ask(b, "VPARTITION INFO %s", b->o->key);
        uint64_t unlinked, now;

        if (!reply)
            return false;
        unlinked = network_map_number(reply, "unlinked");
        freeReplyObject(reply);
        now = clock_mono_ns();
        if (unlinked != last)
            changed_ns = now;
        last = unlinked;
        if (unlinked <= rest && (b->o->partitions == 1 || now - changed_ns > SETTLED_NS))
            break;
        if (now - changed_ns > STUCK_NS) {
            progress_end(&progress);
            return network_complain("linking has stood still for a minute with %llu vectors to do",
                                    (unsigned long long)unlinked);
        }
        progress_update(&progress, b->d->base.rows > unlinked ? b->d->base.rows - unlinked : 0);
        usleep(2000);
    }
    progress_end(&progress);
    *end_ns = changed_ns;
    return true;
}

bool network_load(struct bench *b)
{
    struct load_job pieces = {.rows = b->d->base.rows, .batch = b->o->vmadd};
    size_t per = b->o->vmadd ? b->o->vmadd : 1, requests = (b->d->base.rows + per - 1) / per;
    struct traffic_job job = {.requests = requests,
                              .max_pieces = b->o->vmadd ? 2 * b->o->vmadd + 2 : 3,
                              .build = build_load,
                              .reply = reply_load,
                              .arg = &pieces,
                              .label = "loading"};
    struct load_result *l = &b->r->loads[b->r->nloads++];
    struct search_result latencies;
    uint64_t begin, end = 0;
    bool good = load_prepare(b, &pieces);

    job.latency_ns = mem_try_alloc(requests * sizeof *job.latency_ns);
    if (good && !job.latency_ns)
        good = network_complain("no memory for %zu latencies", requests);
    begin = clock_mono_ns();
    good = good && traffic_run(b->traffic, &job, &l->acknowledged_s, NULL) &&
           (b->o->flat || network_wait_linked(b, &end));
    if (good) {
        l->linked_s = b->o->flat ? l->acknowledged_s : (double)(end - begin) * 1e-9;
        if (l->linked_s < l->acknowledged_s)
            l->linked_s = l->acknowledged_s;
        l->vectors = b->d->base.rows;
        l->done = true;
        report_percentiles(job.latency_ns, requests, &latencies);
        l->p50_us = latencies.p50_us;
        l->p99_us = latencies.p99_us;
        l->max_us = latencies.max_us;
    }
    mem_free(job.latency_ns);
    load_release(&pieces);
    return good;
}

bool network_write_run(struct bench *b, const struct write_load *load, size_t *written,
                       double *seconds)
{
    struct load_job pieces = {.first = load->first, .rows = load->count};
    struct traffic_job job = {.requests = load->count,
                              .max_pieces = 3,
                              .build = build_load,
                              .reply = reply_load,
                              .arg = &pieces,
                              .label = "writing",
                              .end_ns = load->end_ns,
                              .rate = load->rate};
    bool good = load_prepare(b, &pieces) && traffic_run(load->traffic, &job, seconds, written);

    load_release(&pieces);
    return good;
}
