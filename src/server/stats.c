#include "server/stats.h"

#include <string.h>

#include "base/mem.h"

struct stats *stats_new(size_t commands)
{
    struct stats *s = mem_zalloc(sizeof(*s));
    s->commands = mem_zalloc(commands * sizeof(*s->commands));
    s->commands_n = commands;
    return s;
}

void stats_free(struct stats *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < s->commands_n; i++)
        mem_free(s->commands[i].times);
    mem_free(s->commands);
    mem_free(s);
}

void stats_reset(struct stats *s)
{
    for (size_t i = 0; i < s->commands_n; i++)
        mem_free(s->commands[i].times);
    struct stat_command *commands = s->commands;
    size_t n = s->commands_n;
    memset(commands, 0, n * sizeof(*commands));
    uint64_t ever = s->turn_max_ever_ns;
    *s = (struct stats){.commands = commands, .commands_n = n, .turn_max_ever_ns = ever};
}

void stats_command(struct stats *s, size_t id, uint64_t us, bool failed, bool histogram)
{
    struct stat_command *c = &s->commands[id];
    c->calls++;
    c->us += us;
    c->failed += failed;
    if (!histogram)
        return;
    if (!c->times)
        c->times = mem_zalloc(sizeof(*c->times));
    histogram_add(c->times, us);
}

void stats_error(struct stats *s, const char *text, size_t len)
{
    size_t n = 0;
    while (n < len && n < sizeof(s->errors[0].code) - 1 && text[n] != ' ' && text[n] != '\r')
        n++;
    s->error_replies++;
    for (size_t i = 0; i < s->errors_n; i++) {
        if (strlen(s->errors[i].code) == n && memcmp(s->errors[i].code, text, n) == 0) {
            s->errors[i].count++;
            return;
        }
    }
    if (s->errors_n == STATS_ERRORS_MAX)
        return;
    struct stat_error *e = &s->errors[s->errors_n++];
    memcpy(e->code, text, n);
    e->code[n] = 0;
    e->count = 1;
}

void stats_turn(struct stats *s, uint64_t cpu_ns, const uint64_t at[STAT_PHASES + 1],
                const struct cmd_spec *last)
{
    s->turns++;
    s->turn_cpu_ns += cpu_ns;
    if (cpu_ns > 1000000)
        s->turns_over_1ms++;
    if (cpu_ns > s->turn_max_ns) {
        s->turn_max_ns = cpu_ns;
        s->slowest = last;
        for (int i = 0; i < STAT_PHASES; i++)
            s->phase_us[i] = (uint32_t)((at[i + 1] - at[i]) / 1000);
    }
    if (cpu_ns > s->turn_max_ever_ns)
        s->turn_max_ever_ns = cpu_ns;
    if (s->commands_in_turn > s->commands_in_turn_max)
        s->commands_in_turn_max = s->commands_in_turn;
    s->commands_in_turn = 0;
}

void stats_sample(struct stats *s, uint64_t now_ms, const uint64_t now[STAT_RATES])
{
    uint64_t ms = now_ms - s->rate_last_ms;
    if (ms == 0)
        return;
    for (int i = 0; i < STAT_RATES; i++) {
        s->rate[i][s->rate_at] =
            now[i] >= s->rate_last[i] ? (now[i] - s->rate_last[i]) * 1000 / ms : 0;
        s->rate_last[i] = now[i];
    }
    s->rate_last_ms = now_ms;
    s->rate_at = (s->rate_at + 1) % STATS_SAMPLES;
}

uint64_t stats_rate(const struct stats *s, enum stat_rate which)
{
    uint64_t sum = 0;
    for (int i = 0; i < STATS_SAMPLES; i++)
        sum += s->rate[which][i];
    return sum / STATS_SAMPLES;
}
