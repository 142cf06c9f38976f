/* A search command under way: its searches on the workers, and the reply that the last of them writes.
 *
 *   loop:    search_job_new -> search_job_add (one a query) -> search_job_start
 *   worker:  each search ends -> the last one composes the reply, frees the searches, gives the place back
 *   loop:    the client goes -> every search of the job is asked to stop
 *
 * The job is owned by the loop until search_job_start, then by whichever worker ends last. */
#ifndef CMD_SEARCH_JOB_H
#define CMD_SEARCH_JOB_H

#include "cmd/search_options.h"

struct search_job;

/* Room for `max` searches. `many`: the reply is an array of as many replies (VMSEARCH). What the reply needs of the options is copied.
 * NULL: out of memory. */
struct search_job *search_job_new(const struct search_options *o, uint32_t dim, size_t max, bool many);
/* A job that was not started. */
void search_job_free(struct search_job *job);
size_t search_job_count(const struct search_job *job);
/* Fixes what a search will see. */
enum vs_status search_job_add(struct search_job *job, struct vs_index *index, const struct vs_query *query);
/* Takes the job. The handler then answers CMD_PENDING. */
void search_job_start(struct search_job *job, struct cmd_call *call);

#endif
