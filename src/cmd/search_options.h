/* What a search command asks for: the grammar that VSEARCH and VMSEARCH share, up to the engine's query. */
#ifndef CMD_SEARCH_OPTIONS_H
#define CMD_SEARCH_OPTIONS_H

#include "cmd/args.h"

struct search_options {
    struct vs_query query;          /* all but its vector and partitions */
    bool with_scores, with_attributes, with_vectors, with_info;
    const struct resp_arg *fields;  /* RETURN */
    size_t nfields;
    uint32_t *partitions;           /* owned: positions, each once; NULL: all */
    size_t npartitions;
    struct vs_filter *filter;       /* a reference; query.filter once all is taken */
};

void search_options_release(struct search_options *o);
/* The values of FILTER and FILTER-EF, into o->filter and o->query; of several the last counts. False: the error is written. */
bool search_options_filter(struct cmd_call *call, struct args *a, enum vs_filter_mode mode, struct search_options *o);
bool search_options_filter_ef(struct cmd_call *call, struct args *a, struct search_options *o);
/* Takes all arguments that are left. `command` is for errors. False: the error is written. */
bool search_options_take(struct cmd_call *call, struct args *a, const char *command, const struct vs_index *index,
                         struct search_options *o);
/* The same for VSIM: its options alone, its defaults and its errors (sim_options.c). */
bool search_options_take_sim(struct cmd_call *call, struct args *a, const struct vs_index *index, struct search_options *o);

#endif
