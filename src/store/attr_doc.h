/* Attributes as they are stored, and their JSON in a form that filters read without parsing.
 *
 *   stored   | u32 length, and ATTR_PARSED | the text as given | u32 bytes of the document | document |
 *                                                              '-------- with ATTR_PARSED ---------'
 *   document: an object, or of 0 bytes: the text is no JSON object
 *   object   | u32 n | n x {u32 hash of the name, u32 where its field begins} | n fields |
 *            entries by hash, fields in the order of the entries, one behind the other; offsets from the object's begin
 *   field    | length of the name | name | value |
 *   value    | u8 tag |  number f64;  integer i32;  string: length, bytes;  array: u32 n, u32 bytes, n values;
 *            object: as above
 *   length   | u8 |, or | 255 | u32 |
 *
 * Hashes are the low words of hash_bytes with seed 0. Nothing is aligned. The form holds no addresses, so it stands in
 * snapshots as it does in memory; one from a file is walked by attr_stored_bytes before it is used. Elements of arrays
 * that are arrays or objects themselves have a tag and no value: no expression reaches into them. Objects below
 * ATTR_DEPTH_MAX levels are empty here: no path is that long.
 *
 * Texts of up to ATTR_PARSE_MAX bytes are parsed when they are written, which takes up to 0.7 ms; longer ones would hold up
 * the thread that writes, and are parsed by the search that meets them, up to ATTR_TEXT_MAX. JSON is read by jansson: UTF-8 is checked, of a name
 * given twice the last counts, integers are doubles, nesting goes to 2,048 levels.
 *
 * Any thread; no state. */
#ifndef STORE_ATTR_DOC_H
#define STORE_ATTR_DOC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ATTR_PARSED 0x80000000u
#define ATTR_DEPTH_MAX 32
#define ATTR_PARSE_MAX (8u << 10)
#define ATTR_TEXT_MAX (1u << 20)
#define ATTR_CACHED 1024             /* bytes; larger ones past the thread's cache, which would hold freed ones as in use */

enum attr_tag {
    ATTR_MISSING,                    /* never stored */
    ATTR_NULL, ATTR_FALSE, ATTR_TRUE, ATTR_NUMBER, ATTR_STRING, ATTR_ARRAY, ATTR_OBJECT,
    ATTR_OTHER,                      /* an array or object within an array */
    ATTR_INTEGER                     /* a number that fits; in documents alone */
};

struct attr_value {                  /* borrows from the document */
    uint32_t tag;
    uint32_t len;                    /* STRING: bytes; ARRAY: elements */
    union {
        double number;
        const uint8_t *at;           /* STRING: its bytes; ARRAY: its first element; OBJECT: its begin */
    };
};

struct attr_key {
    const char *name;
    uint32_t len, hash;
};
struct attr_key attr_key(const char *name, size_t len);

/* The stored form of a text, parsed where it is short enough. NULL: out of memory. attr_free frees it. */
void *attr_new(const void *text, size_t len);
/* NULL is fine. */
void attr_free(void *stored);
/* NULL, and *len 0, for NULL. */
const void *attr_text(const void *stored, size_t *len);
/* All of its bytes. */
size_t attr_bytes(const void *stored);
/* Does a sound stored form begin here and end within `room`? Its bytes, or 0. */
size_t attr_stored_bytes(const void *at, size_t room);
/* Is there a document beside the text? *doc NULL: the text is no JSON object. False: the text has not been parsed. */
bool attr_doc(const void *stored, const uint8_t **doc);
/* Parses a text now: the bytes of its document, 0 when it is no JSON object or too long; *doc is the caller's to mem_free. */
size_t attr_parse(const void *text, size_t len, uint8_t **doc);

/* A field of an object. False: there is none. */
bool attr_find(const uint8_t *object, const struct attr_key *key, struct attr_value *out);
/* Reads the value at `at` and returns where the next begins: for the elements of an array. */
const uint8_t *attr_next(const uint8_t *at, struct attr_value *out);

/* For whoever makes arrays in the same form: bytes of a string or number, and writing it; returns its end. */
size_t attr_value_bytes(const struct attr_value *v);
uint8_t *attr_value_put(uint8_t *to, const struct attr_value *v);

#endif
