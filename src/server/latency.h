/* The latency monitor: for every kind of event, the worst of each second in which one passed
 * latency-monitor-threshold. Loop thread. */
#ifndef SERVER_LATENCY_H
#define SERVER_LATENCY_H

#include <stdint.h>

#include "cmd/command.h"

struct latency;

struct latency *latency_new(void);
void latency_free(struct latency *l);
/* `event` is a string constant: "command", "fast-command", "loop-turn". */
void latency_add(struct latency *l, const char *event, uint64_t now_s, uint64_t ms);

enum cmd_result latency_latest_command(struct cmd_call *call);
enum cmd_result latency_history_command(struct cmd_call *call);
enum cmd_result latency_reset_command(struct cmd_call *call);
enum cmd_result latency_graph_command(struct cmd_call *call);
enum cmd_result latency_doctor_command(struct cmd_call *call);
enum cmd_result latency_histogram_command(struct cmd_call *call);

#endif
