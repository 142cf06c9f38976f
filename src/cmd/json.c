/* Attributes are kept as the bytes that the client sent; they are parsed when something of them is asked for, by jansson.
 * Real numbers are written with the fewest digits that read back, as in every other reply. */
#include "cmd/json.h"

#include <jansson.h>
#include <string.h>

#define FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL)

/* Integers of more than 64 bits are JSON, too: then all numbers are read as doubles. */
static json_t *load(const void *text, size_t len)
{
    json_t *root = json_loadb(text, len, FLAGS, NULL);
    return root ? root : json_loadb(text, len, FLAGS | JSON_DECODE_INT_AS_REAL, NULL);
}

bool json_valid(const void *text, size_t len)
{
    json_t *root = load(text, len);
    json_decref(root);
    return root != NULL;
}

static void write_value(struct resp_writer *w, json_t *value)
{
    if (!value || json_is_null(value)) {
        resp_null(w);
    } else if (json_is_string(value)) {
        resp_bulk(w, json_string_value(value), json_string_length(value));
    } else if (json_is_real(value)) {
        char text[RESP_DOUBLE_MAX];
        resp_bulk(w, text, resp_format_double(json_real_value(value), text));
    } else {
        char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        if (text)
            resp_bulk_text(w, text);
        else
            resp_null(w);
        free(text);
    }
}

void json_fields(struct resp_writer *w, const void *text, size_t len, const struct resp_arg *names, size_t n)
{
    resp_array(w, n);
    json_t *root = text ? load(text, len) : NULL;
    for (size_t i = 0; i < n; i++)
        write_value(w, json_is_object(root) ? json_object_getn(root, names[i].data, names[i].len) : NULL);
    json_decref(root);
}
