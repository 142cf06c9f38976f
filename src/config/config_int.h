/* The configuration's own files only: a row of the table, values of every type, the private
 * state. */
#ifndef CONFIG_CONFIG_INT_H
#define CONFIG_CONFIG_INT_H

#include "config/config.h"

enum config_type {
    CONFIG_BOOL,
    CONFIG_INT,
    CONFIG_MEMORY,         /* bytes: 64mb, 1gb, 100k */
    CONFIG_OCTAL,
    CONFIG_ENUM,
    CONFIG_STRING,
    CONFIG_DIRECTORY,      /* must exist; made absolute when set */
    CONFIG_LIST,           /* words; with row->words only of these */
    CONFIG_LIMITS,         /* client-output-buffer-limit: a row a client class */
    CONFIG_PERCENTILES,
    CONFIG_SAVES,          /* pairs of seconds and changes */
    CONFIG_TYPES
};

enum {
    CONFIG_IMMUTABLE = 1,  /* not at run time */
    CONFIG_APPLIED = 2,    /* at run time only when a listener makes it effective */
    CONFIG_SENSITIVE = 4,  /* never in a message */
    CONFIG_HIDDEN = 8,     /* CONFIG GET only by its exact name; not in vecstore.conf */
    CONFIG_FILENAME = 16   /* a string: the name of a file, without directories, not empty */
};

struct config_word {
    const char *text;
    int value;
};

struct config_row {
    const char *section;   /* of vecstore.conf; NULL: as the row above */
    const char *name;
    const char *alias;     /* another name of it, or NULL */
    enum config_type type;
    unsigned flags;
    size_t offset;         /* of the field in struct config */
    const char *preset;    /* the default, as in a file */
    long long min, max;    /* of numbers; of strings and lists `max` bounds the length */
    const struct config_word *words;
    const char *example;   /* shown commented out in vecstore.conf when the default is empty */
    const char *doc;       /* paragraphs, broken by \n */
};

extern const struct config_row config_table[];
extern const size_t config_table_size;

/* Room for the value of any row. */
union config_value {
    bool yes;
    long long number;
    int word;
    char *text;
    struct config_list list;
    struct config_output_limits limits;
    struct config_percentiles percentiles;
    struct config_saves saves;
};

/* How a value stands in text: as CONFIG GET shows it, or as the arguments of a line in a file. */
enum config_form { CONFIG_FORM_GET, CONFIG_FORM_FILE };

/* The row of this name or alias, in any case; NULL. */
const struct config_row *config_row_find(const char *name, size_t len);
void *config_field(const struct config *c, const struct config_row *row);

/* Changes *value (whose old contents some types build on) to what the arguments say. False: *value
 * as before and a reason in `why`. */
bool config_value_parse(const struct config_row *row, void *value, const struct resp_arg *args,
                        size_t n, struct buf *why);
/* Appends the text. A value of several lines (CONFIG_LIMITS) gets `line` 0, 1, ..: false past the
 * last. */
bool config_value_print(const struct config_row *row, const void *value, enum config_form form,
                        int line, struct buf *out);
/* An own copy into *to, whose contents are overwritten. */
void config_value_copy(const struct config_row *row, void *to, const void *from);
bool config_value_equal(const struct config_row *row, const void *a, const void *b);
void config_value_release(const struct config_row *row, void *value);
size_t config_value_size(const struct config_row *row);
/* Appends all lines of a setting, each "name arguments\n". */
void config_value_lines(const struct config_row *row, const void *value, struct buf *out);

/* Appends text and a NUL that is not counted in out->len. */
void config_say(struct buf *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Reads a whole file, at most 16 MiB of it. `missing_ok`: a file that is not there is empty. */
bool config_read_file(const char *path, bool missing_ok, struct buf *out, struct buf *error);

struct config_listening {
    const struct config_row *row;
    config_listener fn;
    void *arg;
};

struct config_state {
    char *file;            /* absolute, or NULL */
    char *start_dir;       /* the working directory at the start: relative `include`s begin here */
    struct config_listening *listeners;
    size_t listeners_n;
};

#endif
