/* JSON attributes: are they valid, and what is in their fields. Thread-safe: no state. */
#ifndef CMD_JSON_H
#define CMD_JSON_H

#include <stdbool.h>
#include <stddef.h>

#include "resp/resp.h"

/* One JSON value of any kind, and nothing after it but white space. */
bool json_valid(const void *text, size_t len);

/* Writes an array of `n`: for each of `names` the value of that top-level field as a bulk string (a string's text; numbers,
 * booleans, arrays and objects as JSON), null where the field is missing or null, the text is no JSON object, or NULL. */
void json_fields(struct resp_writer *w, const void *text, size_t len, const struct resp_arg *names, size_t n);

#endif
