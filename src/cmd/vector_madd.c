/* VMADD: many elements in one command.
 *
 *   VMADD key (FP32|FP16|BF16|I8) n element blob [element blob ...] [WITHATTRS attributes ... n of them] [options]
 *
 * The count stands before the elements, so nothing in them is ever read as an option, and each option that follows knows
 * how many arguments are its own. Each entry is answered on its own: 1, 0, null (NX, XX) or an error; the
 * others go in. It works in slices; where the index takes no more for now, it waits and goes on from there.
 *
 * ATOMIC looks at every entry before it adds the first, refuses the command for one of them that cannot be
 * added, waits until the index takes vectors, and adds all in one go, past the backlog's bound where need be: that is why
 * it has a maximum. */
#include <limits.h>
#include <string.h>

#include "base/mem.h"
#include "cmd/add_options.h"
#include "cmd/vector_arg.h"
#include "cmd/vector_cmd.h"

#define ATOMIC_ENTRIES_MAX 256
#define ATOMIC_COMPONENTS_MAX (1u << 18)

struct vmadd {
    enum vector_format format;
    size_t n;
    const struct resp_arg *entries;     /* element, blob, element, blob ... */
    const struct resp_arg *attributes;  /* n of them, or NULL */
    bool atomic;
    struct add_options options;
    struct vector_arg vector;           /* scratch */
};

/* From one call to the next. */
struct vmadd_state {
    size_t next;
    uint64_t uid;   /* of the index the entries go to; 0 while there is none */
};

static bool parse(struct cmd_call *call, struct vmadd *m)
{
    struct resp_writer *w = call->reply;
    struct args a = args_from(call, 2);
    long long n;
    if (!vector_arg_format(&a, &m->format)) {
        resp_error(w, "ERR invalid vector specification: FP32, FP16, BF16 or I8 is allowed");
        return false;
    }
    if (!args_int(&a, 1, LLONG_MAX, &n)) {
        resp_error(w, "ERR invalid number of entries: a number from 1 is allowed");
        return false;
    }
    if (args_left(&a) / 2 < (size_t)n) {
        resp_error(w, "ERR number of entries mismatch: %lld pairs of element and blob are announced, %zu arguments follow", n,
                   args_left(&a));
        return false;
    }
    m->n = (size_t)n;
    m->entries = a.v + a.at;
    a.at += m->n * 2;
    while (args_left(&a)) {
        if (args_word(&a, "WITHATTRS")) {
            if (args_left(&a) < m->n) {
                resp_error(w, "ERR WITHATTRS needs one argument for each of the %zu entries", m->n);
                return false;
            }
            m->attributes = a.v + a.at;
            a.at += m->n;
        } else if (args_word(&a, "ATOMIC")) {
            m->atomic = true;
        } else {
            enum add_taken taken = add_options_take(call, &a, &m->options);
            if (taken == ADD_UNKNOWN)
                resp_error(w, "ERR syntax error in VMADD command near '%.*s': WITHATTRS, PARTITION, ATOMIC, NOQUANT, Q8, "
                              "F16, BF16, Q4, BIN, ORIGINALS, EF, M, NX, XX, EX, PX, EXAT, PXAT, KEEPTTL or ACK is allowed",
                           args_shown(args_peek(&a)), args_peek(&a)->data);
            if (taken != ADD_TAKEN)
                return false;
        }
    }
    return true;
}

static const struct resp_arg *id_of(const struct vmadd *m, size_t i)
{
    return &m->entries[i * 2];
}

/* Attributes of an entry; NULL when none are given with it. */
static const struct resp_arg *attributes_of(const struct vmadd *m, size_t i)
{
    return m->attributes ? &m->attributes[i] : NULL;
}

/* The dimension of a new index: that of the first entry that has one. 0: none has. */
static uint32_t first_dim(const struct vmadd *m)
{
    size_t width = vector_arg_width(m->format);
    for (size_t i = 0; i < m->n; i++) {
        size_t len = m->entries[i * 2 + 1].len;
        if (len && len % width == 0 && len / width <= VEC_DIM_MAX)
            return (uint32_t)(len / width);
    }
    return 0;
}

/* Can entry `i` be added to an index (NULL: a new one) of this dimension? Its vector is left in m->vector. */
static bool entry_ok(struct resp_writer *w, struct vmadd *m, size_t i, const struct vs_index *index, uint32_t dim)
{
    if (!vector_arg_blob(w, m->format, &m->entries[i * 2 + 1], &m->vector))
        return false;
    if (index && !vector_arg_reduce(w, index, &m->vector))
        return false;
    if (m->vector.dim != dim) {
        add_options_dim_error(w, m->vector.dim, dim);
        return false;
    }
    return add_options_element(w, index, id_of(m, i), attributes_of(m, i)) &&
           (!index || add_options_place(w, &m->options, index, id_of(m, i)));
}

/* Adds entry `i`, whose vector stands in m->vector, and writes its answer. False: the index takes no more now. */
static bool add_entry(struct cmd_call *call, struct vmadd *m, size_t i, struct vs_index *index, bool *changed)
{
    const struct resp_arg *id = id_of(m, i), *attributes = attributes_of(m, i);
    if (!args_ready(index, id))
        return false;
    /* An empty one removes what is there; a new element gets none, rather than an empty string. */
    if (attributes && !attributes->len && !vs_contains(index, id->data, id->len))
        attributes = NULL;
    struct vs_element element = {
        .id = id->data,
        .id_len = id->len,
        .vector = m->vector.data,
        .attributes = attributes ? attributes->data : NULL,
        .attributes_len = attributes ? attributes->len : 0,
        .deadline_ms = m->options.deadline_ms,
        .keep_deadline = m->options.keep_deadline,
        .past_backlog = m->atomic || call->transaction,
    };
    struct vs_added added = { 0 };
    enum vs_status status = vs_add(index, &element, m->options.mode, &added);
    if (status == VS_BACKLOG)
        return false;
    if (status == VS_OK) {
        *changed = true;
        resp_bool(call->reply, added.created);
    } else if ((status == VS_EXISTS && m->options.mode == VS_ADD_NX) ||
               (status == VS_NOTFOUND && m->options.mode == VS_ADD_XX)) {
        resp_null(call->reply);
    } else {
        add_options_failed(call->reply, index, status, &added);
    }
    return true;
}

/* ---- one by one ---- */

/* Finds the index of this call, or NULL. False: the error for the whole command is written. */
static bool begin(struct cmd_call *call, struct vmadd *m, struct vmadd_state *s, struct vs_index **out)
{
    struct vs_index *index = args_index(call, 1);
    if (!call->state && index && !add_options_check(call->reply, &m->options, index))
        return false;
    if (!call->state && !index && m->options.mode != VS_ADD_XX && !add_options_may_create(call))
        return false;
    if (index && !s->uid)
        s->uid = vs_index_uid(index);
    *out = index && vs_index_uid(index) == s->uid ? index : NULL;
    return true;
}

/* An entry while there is no index: the first that can be added creates it. `wait`: there is no memory for it yet, and
 * nothing is written. */
static struct vs_index *add_first(struct cmd_call *call, struct vmadd *m, struct vmadd_state *s, bool *changed, bool *wait)
{
    struct resp_writer *w = call->reply;
    if (s->uid) {
        resp_error(w, "ERR the index was removed while the command ran");
        return NULL;
    }
    if (!entry_ok(w, m, s->next, NULL, first_dim(m)))
        return NULL;
    if (m->options.mode == VS_ADD_XX) {
        resp_null(w);
        return NULL;
    }
    struct vs_index *index = add_options_create(call, &m->options, m->vector.dim);
    if (!index)
        return NULL;
    if (add_options_place(w, &m->options, index, id_of(m, s->next)))
        *wait = !add_entry(call, m, s->next, index, changed);
    if (!*changed) {
        vs_remove(call->store, call->db, call->argv[1].data, call->argv[1].len);
        return NULL;
    }
    s->uid = vs_index_uid(index);
    args_event(call, EVENT_NEW, "new", 1);
    return index;
}

static enum cmd_result add_each(struct cmd_call *call, struct vmadd *m)
{
    struct vmadd_state begun = { 0 }, *s = call->state ? call->state : &begun;
    struct vs_index *index;
    bool changed = false;
    if (!begin(call, m, s, &index))
        return CMD_DONE;
    if (!call->state) {
        resp_array(call->reply, m->n);
        s = mem_alloc(sizeof *s);
        *s = begun;
        call->state = s;
        call->state_free = mem_free;
    }
    enum cmd_result result = CMD_DONE;
    while (s->next < m->n) {
        bool wait = false;
        if (!index)
            index = add_first(call, m, s, &changed, &wait);
        else if (entry_ok(call->reply, m, s->next, index, vs_index_options(index)->dim))
            wait = !add_entry(call, m, s->next, index, &changed);
        if (wait) {
            result = CMD_BACKLOG;
            break;
        }
        if (++s->next < m->n && args_slice_over(call)) {
            result = CMD_AGAIN;
            break;
        }
    }
    if (changed) {
        args_changed(call, 1);
        args_event(call, EVENT_VECTOR, "vadd", 1);
    }
    return result;
}

/* ---- all or none ---- */

/* Writes "ERR entry 3: ..." from the error that `what` holds. */
static void entry_error(struct resp_writer *w, size_t i, const struct buf *what)
{
    const char *text = what->data + 1;      /* past the '-' */
    size_t len = what->len - 3;             /* and before the CR LF */
    if (len > 4 && !strncmp(text, "ERR ", 4))
        text += 4, len -= 4;
    resp_error(w, "ERR entry %zu (counted from 0): %.*s", i, (int)len, text);
}

static bool mode_ok(struct resp_writer *w, const struct vmadd *m, size_t i, const struct vs_index *index)
{
    const struct resp_arg *id = id_of(m, i);
    bool there = index && vs_contains(index, id->data, id->len);
    if (m->options.mode == VS_ADD_NX && there)
        resp_error(w, "ERR the element exists (NX)");
    else if (m->options.mode == VS_ADD_XX && !there)
        resp_error(w, "ERR the element does not exist (XX)");
    else
        return true;
    return false;
}

static bool all_ok(struct cmd_call *call, struct vmadd *m, const struct vs_index *index, uint32_t dim)
{
    struct buf what = { 0 };
    struct resp_writer w = { .out = &what, .version = 2 };
    bool ok = true;
    for (size_t i = 0; ok && i < m->n; i++) {
        ok = entry_ok(&w, m, i, index, dim) && mode_ok(&w, m, i, index);
        if (!ok)
            entry_error(call->reply, i, &what);
    }
    buf_release(&what);
    return ok;
}

/* A transaction has waited for the backlog already. */
static bool room_for_all(const struct cmd_call *call, const struct vmadd *m, const struct vs_index *index)
{
    bool room = true;
    for (size_t i = 0; i < m->n; i++)   /* all: partitions that are not open are opened at a time */
        room &= call->transaction ? args_ready(index, id_of(m, i))
                                  : !vs_backlogged(index, id_of(m, i)->data, id_of(m, i)->len);
    return room;
}

/* The new index, with a place for every entry in the partition asked for; NULL: the error is written, there is none. */
static struct vs_index *create_for_all(struct cmd_call *call, struct vmadd *m, uint32_t dim)
{
    struct vs_index *index = add_options_create(call, &m->options, dim);
    if (!index || add_options_place(call->reply, &m->options, index, id_of(m, 0)))
        return index;   /* it has one partition, so that one entry tells of all */
    vs_remove(call->store, call->db, call->argv[1].data, call->argv[1].len);
    return NULL;
}

static enum cmd_result add_all(struct cmd_call *call, struct vmadd *m)
{
    struct vs_index *index = args_index(call, 1);
    uint32_t dim = index ? vs_index_options(index)->dim : first_dim(m);
    uint32_t wide = index && vs_index_options(index)->input_dim ? vs_index_options(index)->input_dim : dim;
    if (m->n > ATOMIC_ENTRIES_MAX || (uint64_t)m->n * wide > ATOMIC_COMPONENTS_MAX) {
        resp_error(call->reply, "ERR ATOMIC takes at most %d entries and %u components in all", ATOMIC_ENTRIES_MAX,
                   ATOMIC_COMPONENTS_MAX);
        return CMD_DONE;
    }
    bool is_new = !index;
    if (index && !room_for_all(call, m, index))
        return CMD_BACKLOG;         /* nothing is done yet: the next call looks at everything again */
    if ((index && !add_options_check(call->reply, &m->options, index)) || !all_ok(call, m, index, dim))
        return CMD_DONE;
    if (!index && !(index = create_for_all(call, m, dim)))
        return CMD_DONE;
    bool changed = false;
    resp_array(call->reply, m->n);
    for (size_t i = 0; i < m->n; i++)
        if (entry_ok(call->reply, m, i, index, dim))
            add_entry(call, m, i, index, &changed);
    if (changed) {
        args_changed(call, 1);
        if (is_new)
            args_event(call, EVENT_NEW, "new", 1);
        args_event(call, EVENT_VECTOR, "vadd", 1);
    }
    args_remove_if_empty(call, 1, index);
    return CMD_DONE;
}

enum cmd_result vector_madd_vmadd(struct cmd_call *call)
{
    struct vmadd m = { 0 };
    enum cmd_result result = CMD_DONE;
    if (parse(call, &m))
        result = m.atomic ? add_all(call, &m) : add_each(call, &m);
    vector_arg_release(&m.vector);
    return result;
}
