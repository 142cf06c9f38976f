/* VRANGE, VRANDMEMBER, VLINKS: commands that answer elements without searching.
 *
 * What looks at all elements, or measures many, is a worker's: the handler fixes what it will see, takes a place among the
 * replies and returns. A few elements at random are answered at once. */
#include <string.h>

#include "base/mem.h"
#include "cmd/args.h"
#include "cmd/vector_cmd.h"

#define DRAWN_AT_ONCE 64
#define DRAWS_MAX VS_K_MAX

/* ---- replies from workers ---- */

struct ids_job {
    struct cmd_pending *pending;
    void (*finish)(struct cmd_pending *p);
};

static bool write_ids(struct resp_writer *w, const struct vs_ids *ids)
{
    size_t n = vs_ids_count(ids), len;
    resp_array(w, n);
    for (size_t i = 0; i < n; i++) {
        const void *id = vs_ids_at(ids, i, &len);
        if (!buf_try_reserve(w->out, len + 32))
            return false;
        resp_bulk(w, id, len);
    }
    return true;
}

static void ids_done(struct vs_ids *ids, void *arg)
{
    struct ids_job *job = arg;
    struct cmd_pending *p = job->pending;
    void (*finish)(struct cmd_pending *) = job->finish;
    struct resp_writer w = { .out = &p->reply, .version = p->resp_version };
    size_t begin = p->reply.len;
    enum vs_status status = vs_ids_status(ids);
    if (status == VS_OK && !write_ids(&w, ids)) {
        p->reply.len = begin;
        status = VS_NOMEM;
    }
    if (status != VS_OK)
        args_status_error(&w, status);
    vs_ids_free(ids);
    mem_free(job);
    finish(p);
}

static enum cmd_result choose(struct cmd_call *call, struct vs_index *index, const struct vs_ids_query *query)
{
    struct vs_ids *ids;
    enum vs_status status = vs_ids_begin(index, query, &ids);
    if (status == VS_BACKLOG)
        return CMD_BACKLOG;
    if (status != VS_OK) {
        args_index_error(call->reply, index, status);
        return CMD_DONE;
    }
    struct ids_job *job = mem_alloc(sizeof *job);
    job->pending = cmd_defer(call);
    job->finish = call->host->finish;
    vs_ids_submit(ids, &job->pending->cancelled, ids_done, job);
    return CMD_PENDING;
}

/* ---- VRANGE ---- */

struct bound {
    bool first, last;           /* - and + */
    const char *data;           /* NULL with these */
    size_t len;
    bool open;
};

static bool take_bound(const struct resp_arg *a, struct bound *b)
{
    *b = (struct bound){ 0 };
    if (a->len == 1 && (a->data[0] == '-' || a->data[0] == '+')) {
        b->first = a->data[0] == '-';
        b->last = !b->first;
        return true;
    }
    if (a->len < 2 || (a->data[0] != '[' && a->data[0] != '('))
        return false;
    b->data = a->data + 1;
    b->len = a->len - 1;
    b->open = a->data[0] == '(';
    return true;
}

/* False: the error is written. */
static bool take_range(struct cmd_call *call, struct bound *from, struct bound *to, long long *count)
{
    struct resp_writer *w = call->reply;
    *count = -1;
    if (call->argc > 5)
        args_wrong_number(call);
    else if (!take_bound(&call->argv[2], from))
        resp_error(w, "ERR invalid start range format");
    else if (!take_bound(&call->argv[3], to))
        resp_error(w, "ERR invalid end range format");
    else if (from->last || to->first)
        resp_error(w, "ERR '-' can only be used as first argument, '+' only as second");
    else if (call->argc == 5 && !resp_to_int(&call->argv[4], count))
        resp_error(w, "ERR invalid COUNT value");
    else
        return true;
    return false;
}

enum cmd_result vector_ids_vrange(struct cmd_call *call)
{
    struct bound from, to;
    long long count;
    if (!take_range(call, &from, &to, &count))
        return CMD_DONE;
    struct vs_index *index = args_index(call, 1);
    if (!index || !count || !vs_index_count(index)) {
        resp_array(call->reply, 0);
        return CMD_DONE;
    }
    struct vs_ids_query query = {
        .kind = VS_IDS_RANGE,
        .max = count < 0 ? SIZE_MAX : (size_t)count,
        .from = from.data,
        .from_len = from.len,
        .from_open = from.open,
        .to = to.data,
        .to_len = to.len,
        .to_open = to.open,
    };
    return choose(call, index, &query);
}

/* ---- VRANDMEMBER ---- */

struct drawn {
    size_t n, want;
    bool distinct;
    struct resp_arg ids[DRAWN_AT_ONCE];
};

static void draw_one(void *arg, const void *id, size_t len)
{
    struct drawn *d = arg;
    for (size_t i = 0; d->distinct && i < d->n; i++)
        if (d->ids[i].data == id)
            return;
    d->ids[d->n++] = (struct resp_arg){ .data = id, .len = len };
}

/* A few, at once. `single`: no array. */
static enum cmd_result draw(struct cmd_call *call, struct vs_index *index, struct drawn *d, bool single)
{
    while (d->n < d->want) {
        enum vs_status status = vs_random_ids(index, d->want - d->n, draw_one, d);
        if (status == VS_BACKLOG)
            return CMD_BACKLOG;
        if (status != VS_OK) {
            args_index_error(call->reply, index, status);
            return CMD_DONE;
        }
    }
    if (!single)
        resp_array(call->reply, d->n);
    for (size_t i = 0; i < d->n; i++)
        resp_bulk(call->reply, d->ids[i].data, d->ids[i].len);
    return CMD_DONE;
}

enum cmd_result vector_ids_vrandmember(struct cmd_call *call)
{
    struct resp_writer *w = call->reply;
    struct vs_index *index = args_index(call, 1);
    size_t all = index ? vs_index_count(index) : 0;
    struct drawn d = { .want = 1 };
    long long count;
    if (call->argc > 3) {
        args_wrong_number(call);
        return CMD_DONE;
    }
    if (call->argc == 2) {
        if (all)
            return draw(call, index, &d, true);
        resp_null(w);
        return CMD_DONE;
    }
    if (!resp_to_int(&call->argv[2], &count)) {
        resp_error(w, "ERR COUNT value is not an integer");
        return CMD_DONE;
    }
    if (count < -DRAWS_MAX) {
        resp_error(w, "ERR COUNT value is out of range: a number from -%d is allowed", DRAWS_MAX);
        return CMD_DONE;
    }
    if (!all || !count) {
        resp_array(w, 0);
        return CMD_DONE;
    }
    d.distinct = count > 0;
    size_t want = count < 0 ? (size_t)-count : (size_t)count;
    if (want <= DRAWN_AT_ONCE && (!d.distinct || want <= all / 2)) {
        d.want = want;
        return draw(call, index, &d, false);
    }
    return choose(call, index, &(struct vs_ids_query){ .kind = d.distinct ? VS_IDS_SAMPLE : VS_IDS_DRAW, .max = want });
}

/* ---- VLINKS ---- */

struct links_job {
    struct cmd_pending *pending;
    void (*finish)(struct cmd_pending *p);
    bool with_scores;
};

static bool write_links(struct resp_writer *w, const struct vs_links *links, bool with_scores)
{
    int levels = vs_links_levels(links);
    resp_array(w, (size_t)levels);
    for (int level = levels; level-- > 0;) {
        size_t n = vs_links_count(links, level), len;
        if (with_scores)
            resp_map(w, n);
        else
            resp_array(w, n);
        for (size_t i = 0; i < n; i++) {
            double score;
            const void *id = vs_links_at(links, level, i, &len, &score);
            if (!buf_try_reserve(w->out, len + 96))
                return false;
            resp_bulk(w, id, len);
            if (with_scores)
                resp_double(w, score);
        }
    }
    return true;
}

static void links_done(struct vs_links *links, void *arg)
{
    struct links_job *job = arg;
    struct cmd_pending *p = job->pending;
    void (*finish)(struct cmd_pending *) = job->finish;
    struct resp_writer w = { .out = &p->reply, .version = p->resp_version };
    size_t begin = p->reply.len;
    enum vs_status status = vs_links_status(links);
    if (status == VS_OK && !write_links(&w, links, job->with_scores)) {
        p->reply.len = begin;
        status = VS_NOMEM;
    }
    if (status == VS_CORRUPT)
        resp_error(&w, "CORRUPT the partition of this element is damaged");
    else if (status != VS_OK)
        args_status_error(&w, status);
    vs_links_free(links);
    mem_free(job);
    finish(p);
}

enum cmd_result vector_ids_vlinks(struct cmd_call *call)
{
    bool with_scores = call->argc == 4 && resp_is(&call->argv[3], "WITHSCORES");
    if (call->argc > 3 && !with_scores) {
        args_wrong_number(call);
        return CMD_DONE;
    }
    struct vs_index *index = args_index(call, 1);
    struct vs_links *links;
    enum vs_status status =
        index ? vs_links_begin(index, call->argv[2].data, call->argv[2].len, &links) : VS_NOTFOUND;
    if (status == VS_BACKLOG)
        return CMD_BACKLOG;
    if (status == VS_NOTFOUND)
        resp_null(call->reply);
    else if (status != VS_OK)
        args_index_error(call->reply, index, status);
    if (status != VS_OK)
        return CMD_DONE;
    struct links_job *job = mem_alloc(sizeof *job);
    job->pending = cmd_defer(call);
    job->finish = call->host->finish;
    job->with_scores = with_scores;
    vs_links_submit(links, links_done, job);
    return CMD_PENDING;
}
