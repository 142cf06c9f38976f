#include "server/latency.h"

#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "server/server.h"
#include "server/stats.h"

#define EVENTS_MAX 8
#define SAMPLES    160 /* kept of an event, as Redis keeps */
#define GRAPH_ROWS 4

struct event {
    const char *name;
    struct sample {
        uint64_t at_s, ms;
    } samples[SAMPLES]; /* a ring */
    size_t n, next;
    uint64_t max_ms;
};

struct latency {
    struct event events[EVENTS_MAX];
    size_t n;
};

struct latency *latency_new(void)
{
    return mem_zalloc(sizeof(struct latency));
}

void latency_free(struct latency *l)
{
    mem_free(l);
}

static struct event *find(struct latency *l, const char *name, size_t len)
{
    for (size_t i = 0; i < l->n; i++)
        if (strlen(l->events[i].name) == len && memcmp(l->events[i].name, name, len) == 0)
            return &l->events[i];
    return NULL;
}

/* The i-th oldest. */
static const struct sample *sample_at(const struct event *e, size_t i)
{
    return &e->samples[(e->next + SAMPLES - e->n + i) % SAMPLES];
}

void latency_add(struct latency *l, const char *name, uint64_t now_s, uint64_t ms)
{
    struct event *e = find(l, name, strlen(name));
    if (!e) {
        if (l->n == EVENTS_MAX)
            return;
        e = &l->events[l->n++];
        *e = (struct event){.name = name};
    }
    if (ms > e->max_ms)
        e->max_ms = ms;
    struct sample *last = e->n ? &e->samples[(e->next + SAMPLES - 1) % SAMPLES] : NULL;
    if (last && last->at_s == now_s) {
        if (ms > last->ms)
            last->ms = ms;
        return;
    }
    e->samples[e->next] = (struct sample){now_s, ms};
    e->next = (e->next + 1) % SAMPLES;
    if (e->n < SAMPLES)
        e->n++;
}

/* ---- commands ---- */

enum cmd_result latency_latest_command(struct cmd_call *call)
{
    const struct latency *l = server_of(call)->latency;
    resp_array(call->reply, l->n);
    for (size_t i = 0; i < l->n; i++) {
        const struct event *e = &l->events[i];
        const struct sample *last = sample_at(e, e->n - 1);
        resp_array(call->reply, 4);
        resp_bulk_text(call->reply, e->name);
        resp_int(call->reply, (long long)last->at_s);
        resp_int(call->reply, (long long)last->ms);
        resp_int(call->reply, (long long)e->max_ms);
    }
    return CMD_DONE;
}

enum cmd_result latency_history_command(struct cmd_call *call)
{
    struct event *e = find(server_of(call)->latency, call->argv[2].data, call->argv[2].len);
    size_t n = e ? e->n : 0;
    resp_array(call->reply, n);
    for (size_t i = 0; i < n; i++) {
        resp_array(call->reply, 2);
        resp_int(call->reply, (long long)sample_at(e, i)->at_s);
        resp_int(call->reply, (long long)sample_at(e, i)->ms);
    }
    return CMD_DONE;
}

static void forget(struct latency *l, struct event *e)
{
    *e = l->events[--l->n];
}

enum cmd_result latency_reset_command(struct cmd_call *call)
{
    struct latency *l = server_of(call)->latency;
    long long reset = 0;
    if (call->argc == 2) {
        reset = (long long)l->n;
        l->n = 0;
    }
    for (size_t i = 2; i < call->argc; i++) {
        struct event *e = find(l, call->argv[i].data, call->argv[i].len);
        if (e) {
            forget(l, e);
            reset++;
        }
    }
    resp_int(call->reply, reset);
    return CMD_DONE;
}

static bool wrong_event(struct cmd_call *call, const struct event *e)
{
    if (e)
        return false;
    resp_error(call->reply, "ERR No samples available for event '%.*s'",
               (int)(call->argv[2].len < 64 ? call->argv[2].len : 64), call->argv[2].data);
    return true;
}

/* A column a sample, '#' where it reaches the row; below it how long ago it was. */
enum cmd_result latency_graph_command(struct cmd_call *call)
{
    const struct event *e = find(server_of(call)->latency, call->argv[2].data, call->argv[2].len);
    if (wrong_event(call, e))
        return CMD_DONE;
    struct buf out = {0};
    uint64_t now_s = call->now_ms / 1000, low = UINT64_MAX, high = 0;
    size_t first = e->n > 80 ? e->n - 80 : 0;
    for (size_t i = first; i < e->n; i++) {
        uint64_t ms = sample_at(e, i)->ms;
        low = ms < low ? ms : low;
        high = ms > high ? ms : high;
    }
    buf_printf(&out, "%s - high %llu ms, low %llu ms (all time high %llu ms)\n", e->name,
               (unsigned long long)high, (unsigned long long)low, (unsigned long long)e->max_ms);
    buf_puts(&out,
             "--------------------------------------------------------------------------------\n");
    for (int row = GRAPH_ROWS; row > 0; row--) {
        for (size_t i = first; i < e->n; i++) {
            uint64_t step =
                high > low ? (sample_at(e, i)->ms - low) * (GRAPH_ROWS - 1) / (high - low) + 1 : 1;
            buf_append(&out, step >= (uint64_t)row ? (step == (uint64_t)row ? "#" : "|") : " ", 1);
        }
        buf_append(&out, "\n", 1);
    }
    for (int digit = 0; digit < 3; digit++) {
        buf_append(&out, "\n", digit == 0);
        for (size_t i = first; i < e->n; i++) {
            uint64_t ago = now_s - sample_at(e, i)->at_s;
            char text[24];
            char unit = ago < 60 ? 's' : ago < 3600 ? 'm' : ago < 86400 ? 'h' : 'd';
            ago = ago < 60 ? ago : ago < 3600 ? ago / 60 : ago < 86400 ? ago / 3600 : ago / 86400;
            int n = snprintf(text, sizeof(text), "%llu%c", (unsigned long long)ago, unit);
            buf_append(&out, digit < n ? text + digit : " ", 1);
        }
        buf_append(&out, "\n", 1);
    }
    resp_verbatim(call->reply, "txt", out.data, out.len);
    buf_release(&out);
    return CMD_DONE;
}

enum cmd_result latency_doctor_command(struct cmd_call *call)
{
    const struct server *s = server_of(call);
    const struct latency *l = s->latency;
    struct buf out = {0};
    if (s->config->latency_monitor_threshold == 0)
        buf_puts(&out, "The latency monitor is off. CONFIG SET latency-monitor-threshold "
                       "<milliseconds> turns it on.\n");
    else if (l->n == 0)
        buf_printf(&out, "No event has taken %lld ms or longer.\n",
                   s->config->latency_monitor_threshold);
    for (size_t i = 0; i < l->n; i++) {
        const struct event *e = &l->events[i];
        uint64_t sum = 0;
        for (size_t k = 0; k < e->n; k++)
            sum += sample_at(e, k)->ms;
        buf_printf(&out, "%zu. %s: %zu times, %.1f ms on average, %llu ms at worst.\n", i + 1,
                   e->name, e->n, (double)sum / (double)e->n, (unsigned long long)e->max_ms);
    }
    if (s->stats->turns_over_1ms)
        buf_printf(
            &out,
            "%llu of %llu turns of the event loop took more than 1 ms of CPU time, the longest "
            "%llu us%s%s. "
            "SLOWLOG GET names the commands.\n",
            (unsigned long long)s->stats->turns_over_1ms, (unsigned long long)s->stats->turns,
            (unsigned long long)(s->stats->turn_max_ns / 1000), s->stats->slowest ? ", with " : "",
            s->stats->slowest ? s->stats->slowest->name : "");
    else
        buf_puts(&out, "No turn of the event loop took more than 1 ms of CPU time.\n");
    resp_verbatim(call->reply, "txt", out.data, out.len);
    buf_release(&out);
    return CMD_DONE;
}

static void write_histogram(struct cmd_call *call, size_t id, const struct stat_command *k)
{
    struct cmd_table *t = server_of(call)->commands;
    const struct cmd_spec *parent, *spec = cmd_row(t, id, &parent);
    char name[128];
    size_t len = cmd_full_name(t, spec, name, sizeof(name));
    resp_bulk(call->reply, name, len);
    resp_map(call->reply, 2);
    resp_bulk_text(call->reply, "calls");
    resp_int(call->reply, (long long)k->calls);
    resp_bulk_text(call->reply, "histogram_usec");
    /* Powers of two in which something was added, with all entries up to there. */
    uint64_t upto[48], bound[48], before = 0;
    size_t n = 0;
    for (unsigned i = 0; i < 37; i++) {
        uint64_t count = histogram_up_to(k->times, (uint64_t)1 << i);
        if (count > before) {
            bound[n] = (uint64_t)1 << i;
            upto[n++] = count;
        }
        before = count;
    }
    resp_map(call->reply, n);
    for (size_t i = 0; i < n; i++) {
        resp_int(call->reply, (long long)bound[i]);
        resp_int(call->reply, (long long)upto[i]);
    }
}

static bool asked_for(const struct cmd_call *call, size_t id)
{
    if (call->argc == 2)
        return true;
    const struct cmd_spec *parent, *spec = cmd_row(server_of(call)->commands, id, &parent);
    char name[128];
    cmd_full_name(server_of(call)->commands, spec, name, sizeof(name));
    for (size_t i = 2; i < call->argc; i++)
        if (resp_is(&call->argv[i], name) || (parent && resp_is(&call->argv[i], parent->name)))
            return true;
    return false;
}

enum cmd_result latency_histogram_command(struct cmd_call *call)
{
    const struct stats *st = server_of(call)->stats;
    size_t n = 0;
    for (size_t i = 0; i < st->commands_n; i++)
        n += st->commands[i].times && asked_for(call, i);
    resp_map(call->reply, n);
    for (size_t i = 0; i < st->commands_n; i++)
        if (st->commands[i].times && asked_for(call, i))
            write_histogram(call, i, &st->commands[i]);
    return CMD_DONE;
}
