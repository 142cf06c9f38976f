/* What the server counts: commands, errors by their code, turns of the loop, rates. Loop thread. */
#ifndef SERVER_STATS_H
#define SERVER_STATS_H

#include "cmd/command.h"
#include "server/histogram.h"

struct stat_command {
    uint64_t calls, us, rejected, failed;
    struct histogram
        *times; /* microseconds; NULL before the first call or with latency-tracking no */
};

#define STATS_ERRORS_MAX 128
struct stat_error {
    char code[32];
    uint64_t count;
};

/* Parts of a turn, see turn.c. */
enum stat_phase { STAT_EVENTS, STAT_POSTS, STAT_WORK, STAT_ENGINE, STAT_FLUSH, STAT_PHASES };

#define STATS_SAMPLES 16
enum stat_rate { STAT_COMMANDS, STAT_BYTES_IN, STAT_BYTES_OUT, STAT_RATES };

struct stats {
    struct stat_command *commands; /* by cmd_id */
    size_t commands_n;
    struct stat_error errors[STATS_ERRORS_MAX];
    size_t errors_n;
    uint64_t processed; /* commands */
    uint64_t connections, rejected_connections;
    uint64_t error_replies;
    uint64_t query_limit_closes, output_limit_closes;
    uint64_t expired_keys, expired_elements, expire_slices_cut; /* removals that stopped for their budget */
    uint64_t searches, searches_on_loop; /* deferred replies; of them, those of searches that no worker ran */
    uint64_t client_input_max, client_output_max;
    /* the loop */
    uint64_t turns, turns_over_1ms, turn_max_ns, turn_cpu_ns, turn_max_ever_ns;
    uint64_t commands_in_turn_max;
    size_t commands_in_turn;
    uint32_t phase_us[STAT_PHASES]; /* wall time of the longest turn's parts */
    const struct cmd_spec *slowest; /* the last command of the longest turn */
    /* rates: samples of the last 1.6 seconds */
    uint64_t rate_last[STAT_RATES], rate_last_ms;
    uint64_t rate[STAT_RATES][STATS_SAMPLES];
    unsigned rate_at;
};

struct stats *stats_new(size_t commands);
void stats_free(struct stats *s);
void stats_reset(struct stats *s);
void stats_command(struct stats *s, size_t id, uint64_t us, bool failed, bool histogram);
/* `text` is the reply behind its '-'. */
void stats_error(struct stats *s, const char *text, size_t len);
/* `at`: when the turn's parts began, and the end; the first part includes sleeping. */
void stats_turn(struct stats *s, uint64_t cpu_ns, const uint64_t at[STAT_PHASES + 1],
                const struct cmd_spec *last);
void stats_sample(struct stats *s, uint64_t now_ms, const uint64_t now[STAT_RATES]);
uint64_t stats_rate(const struct stats *s, enum stat_rate which);

#endif
