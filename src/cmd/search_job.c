/* CANCELLING. The loop may learn that a client has gone at the very moment when a worker ends the job. pending->arg is the job's
 * lock: whoever exchanges it for NULL has the job. The loop puts it back after asking the searches to stop, which takes
 * well under a microsecond each; the worker waits for that, takes it for good, and on_cancel then finds nothing to do. A mutex in
 * the job could not serve, since the worker frees the job; one in the place would be the server's to know about. */
#include "cmd/search_job.h"

#include <sched.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/json.h"

struct search_job {
    struct cmd_pending *pending;
    void (*finish)(struct cmd_pending *p);
    size_t n;
    atomic_size_t left;         /* searches that have not ended */
    uint32_t dim;
    bool many;
    bool with_scores, with_attributes, with_vectors, with_info;
    size_t nfields;
    struct resp_arg *fields;    /* in this block, as their bytes are */
    bool marked;                /* what is found counts as used */
    bool plain;                 /* one search, whose cost `effort` tells */
    struct cmd_effort effort;
    struct vs_search **searches;
};

#define MARKS_MAX 4096          /* of one reply */

static size_t fields_bytes(const struct search_options *o)
{
    size_t bytes = o->nfields * sizeof *o->fields;
    for (size_t i = 0; i < o->nfields; i++)
        bytes += o->fields[i].len;
    return bytes;
}

struct search_job *search_job_new(const struct search_options *o, uint32_t dim, size_t max, bool many)
{
    struct search_job *job = mem_try_zalloc(sizeof *job + max * sizeof *job->searches + fields_bytes(o));
    if (!job)
        return NULL;
    job->searches = (void *)(job + 1);
    job->fields = (void *)(job->searches + max);
    char *bytes = (char *)(job->fields + o->nfields);
    for (size_t i = 0; i < o->nfields; i++) {
        job->fields[i] = (struct resp_arg){ .data = bytes, .len = o->fields[i].len };
        memcpy(bytes, o->fields[i].data, o->fields[i].len);
        bytes += o->fields[i].len;
    }
    job->nfields = o->nfields;
    job->dim = dim;
    job->many = many;
    job->with_scores = o->with_scores;
    job->with_attributes = o->with_attributes;
    job->with_vectors = o->with_vectors;
    job->with_info = o->with_info;
    return job;
}

void search_job_free(struct search_job *job)
{
    if (!job)
        return;
    for (size_t i = 0; i < job->n; i++)
        vs_search_free(job->searches[i]);
    mem_free(job);
}

size_t search_job_count(const struct search_job *job)
{
    return job->n;
}

enum vs_status search_job_add(struct search_job *job, struct vs_index *index, const struct vs_query *query)
{
    enum vs_status status = vs_search_begin(index, query, &job->searches[job->n]);
    job->plain = !job->n && !query->exact && !query->has_radius && !query->filter && !job->with_vectors &&
                 vs_index_is_calm(index);
    job->effort = (struct cmd_effort){ .index_uid = vs_index_uid(index),
                                       .ef = query->ef ? query->ef : VS_EF_DEFAULT,
                                       .keep = query->k + query->offset };
    if (!status)
        job->n++;
    return status;
}

/* ---- the reply ---- */

/* Room for one hit, so that a reply of any size can fail instead of aborting. */
static bool reserve_hit(const struct search_job *job, struct buf *out, size_t id_len, size_t attributes_len)
{
    size_t bytes = id_len + 256;
    if (job->with_attributes)
        bytes += attributes_len;
    if (job->with_vectors)
        bytes += (size_t)job->dim * 4;
    bytes += job->nfields ? attributes_len + 32 * job->nfields : 0;
    return buf_try_reserve(out, bytes) != NULL;
}

static void write_vector(struct resp_writer *w, const struct vs_hit *hit, uint32_t dim, float *tmp)
{
    vs_hit_vector(hit, tmp);
    resp_bulk(w, tmp, (size_t)dim * sizeof *tmp);
}

/* False: out of memory. */
static bool write_hit(const struct search_job *job, struct resp_writer *w, const struct vs_hit *hit, size_t columns,
                      float *tmp)
{
    size_t id_len, attributes_len = 0;
    const void *id = vs_hit_id(hit, &id_len), *attributes = NULL;
    if (job->with_attributes || job->nfields)
        attributes = vs_hit_attributes(hit, &attributes_len);
    if (!reserve_hit(job, w->out, id_len, attributes_len))
        return false;
    resp_bulk(w, id, id_len);
    if (w->version == 3 && columns > 1)
        resp_array(w, columns);
    if (job->with_scores)
        resp_double(w, hit->score);
    if (job->with_attributes) {
        if (attributes)
            resp_bulk(w, attributes, attributes_len);
        else
            resp_null(w);
    }
    if (job->with_vectors)
        write_vector(w, hit, job->dim, tmp);
    if (job->nfields)
        json_fields(w, attributes, attributes_len, job->fields, job->nfields);
    return true;
}

/* The hits of one search. False: out of memory, or nobody will read it. */
static bool write_hits(const struct search_job *job, struct resp_writer *w, const struct vs_search *search, float *tmp)
{
    size_t n;
    const struct vs_hit *hits = vs_search_hits(search, &n);
    size_t columns = (size_t)job->with_scores + job->with_attributes + job->with_vectors + (job->nfields > 0);
    if (w->version == 3 && columns)
        resp_map(w, n);
    else
        resp_array(w, n * (1 + columns));
    for (size_t i = 0; i < n; i++) {
        if (!write_hit(job, w, &hits[i], columns, tmp))
            return false;
        if (i % 256 == 0 && atomic_load_explicit(&job->pending->cancelled, memory_order_relaxed))
            return false;
    }
    return true;
}

static void write_info(struct resp_writer *w, const struct vs_search *search)
{
    const struct vs_search_stats *s = vs_search_stats(search);
    bool filtered = !strncmp(s->plan, "filter", 6);
    resp_map(w, filtered ? 9 : 8);
    resp_bulk_text(w, "partitions_asked");
    resp_int(w, s->partitions_asked);
    resp_bulk_text(w, "partitions_answered");
    resp_int(w, s->partitions_answered);
    resp_bulk_text(w, "partial");
    resp_bool(w, s->partial);
    resp_bulk_text(w, "plan");
    resp_bulk_text(w, s->plan);
    resp_bulk_text(w, "distances");
    resp_int(w, (long long)s->distances);
    resp_bulk_text(w, "nodes");
    resp_int(w, (long long)s->nodes);
    if (filtered) {
        resp_bulk_text(w, "examined");
        resp_int(w, (long long)s->examined);
    }
    resp_bulk_text(w, "time_us");
    resp_int(w, (long long)(s->search_ns / 1000));
    resp_bulk_text(w, "version");
    resp_int(w, (long long)s->sequence);
}

static bool write_reply(const struct search_job *job, struct resp_writer *w)
{
    float *tmp = NULL;
    if (job->with_vectors && !(tmp = mem_try_alloc((size_t)job->dim * sizeof *tmp)))
        return false;
    bool ok = true;
    if (job->with_info)
        resp_array(w, 2);
    if (job->many)
        resp_array(w, job->n);
    for (size_t i = 0; ok && i < job->n; i++)
        ok = write_hits(job, w, job->searches[i], tmp);
    if (ok && job->with_info && job->many)
        resp_array(w, job->n);
    for (size_t i = 0; ok && job->with_info && i < job->n; i++)
        write_info(w, job->searches[i]);
    mem_free(tmp);
    return ok;
}

/* Did a search meet a damaged partition? */
static bool damaged(const struct search_job *job, struct buf *why)
{
    for (size_t i = 0; i < job->n; i++)
        if (vs_search_status(job->searches[i], why) != VS_OK)
            return true;
    return false;
}

/* Without memory for it nothing is marked. */
static struct cmd_used *used_of(const struct search_job *job)
{
    struct cmd_used *used = NULL;
    size_t total = 0;
    for (size_t i = 0; i < job->n; i++) {
        size_t n;
        vs_search_hits(job->searches[i], &n);
        total += n;
    }
    total = total < MARKS_MAX ? total : MARKS_MAX;
    if (total)
        used = mem_try_alloc(sizeof *used + total * sizeof used->marks[0]);
    if (!used)
        return NULL;
    *used = (struct cmd_used){ .index_uid = job->effort.index_uid };
    for (size_t i = 0; i < job->n && used->n < total; i++)
        used->n += vs_search_marks(job->searches[i], used->marks + used->n, total - used->n);
    return used;
}

/* ---- ending ---- */

static void on_cancel(struct cmd_pending *p)
{
    struct search_job *job = __atomic_exchange_n(&p->arg, NULL, __ATOMIC_ACQUIRE);
    if (!job)
        return;
    for (size_t i = 0; i < job->n; i++)
        vs_search_cancel(job->searches[i]);
    __atomic_store_n(&p->arg, job, __ATOMIC_RELEASE);
}

/* Waits while the loop is in on_cancel; afterwards the job is the caller's alone. */
static void take_from_loop(struct cmd_pending *p)
{
    while (!__atomic_exchange_n(&p->arg, NULL, __ATOMIC_ACQUIRE))
        sched_yield();
}

static void search_done(struct vs_search *search, void *arg)
{
    (void)search;
    struct search_job *job = arg;
    if (atomic_fetch_sub_explicit(&job->left, 1, memory_order_acq_rel) > 1)
        return;
    struct cmd_pending *p = job->pending;
    void (*finish)(struct cmd_pending *) = job->finish;
    struct resp_writer w = { .out = &p->reply, .version = p->resp_version };
    size_t begin = p->reply.len;
    struct buf why = { 0 };
    if (damaged(job, &why)) {
        resp_error(&w, "CORRUPT %.*s", (int)why.len, why.data);
    } else if (!write_reply(job, &w)) {
        p->reply.len = begin;
        args_status_error(&w, VS_NOMEM);
    }
    buf_release(&why);
    if (job->marked)
        p->used = used_of(job);
    take_from_loop(p);
    search_job_free(job);
    finish(p);
}

void search_job_start(struct search_job *job, struct cmd_call *call)
{
    struct cmd_pending *p = cmd_defer(call);
    size_t n = job->n;
    struct vs_search **searches = job->searches;
    p->pool = vs_pool(call->store);
    job->pending = p;
    job->finish = call->host->finish;
    job->marked = vs_marks(call->store);
    atomic_init(&job->left, n);
    __atomic_store_n(&p->arg, job, __ATOMIC_RELEASE);
    p->on_cancel = on_cancel;
    if (job->plain && call->host->at_once && call->host->at_once(call, &job->effort)) {
        vs_search_run(searches[0], search_done, job);
        return;
    }
    /* The job cannot end before the last is submitted, and is not looked at after that. */
    for (size_t i = 0; i < n; i++)
        vs_search_submit(searches[i], search_done, job);
}
