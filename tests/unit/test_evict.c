/* The limit of memory: how much is evicted where what the dead leave behind comes back late.
 * tsan: skip (the model of the engine deletes as much, with more threads) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "lib/store_bed.h"
#include "lib/wait.h"

#define ELEMENTS 9000
#define HELD_MS  1000 /* some times as long as memory that nothing fetches is waited for */

static const struct vs_index_options OPTIONS = {.dim = 64, .m = 8, .ef_construction = 40, .keep_empty = true};

/* A worker that has something else to do. */
static struct {
    struct pool_task task;
    atomic_bool begun, over;
} other;

static void do_other(struct pool_task *task, unsigned worker)
{
    (void)task;
    (void)worker;
    atomic_store(&other.begun, true);
    while (!atomic_load(&other.over))
        nanosleep(&(struct timespec){0, 1000000}, NULL);
}

static bool other_begun(void *arg)
{
    (void)arg;
    return atomic_load(&other.begun);
}

static size_t evicted(const struct vs_store *store)
{
    struct vs_memory_status m;
    vs_memory_status(store, &m);
    return m.evicted_elements;
}

/* A turn of the loop. */
static enum vs_memory_state turn(struct vs_store *store)
{
    vs_poll(store, 200);
    return vs_memory_check(store, 0, clock_mono_ns() + 150000);
}

static bool within(void *arg)
{
    struct vs_store *store = arg;
    turn(store);
    return mem_used_now(true) <= store->evict.limit.max;
}

static void set_limit(struct vs_store *store, size_t max)
{
    vs_set_memory_limit(store, &(struct vs_memory_limit){.max = max, .policy = VS_EVICT_ALL_RANDOM, .samples = 5});
}

/* All that is too much is evicted once; until the worker has mended the graph nothing more goes, however long that takes. */
static void test_slow_mending(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &OPTIONS);
    fill(index, 0, ELEMENTS);
    settle(store);
    atomic_store(&other.over, false);
    other.task.run = do_other;
    pool_submit(vs_pool(store), POOL_LINK, &other.task);
    assert_true(wait_until(other_begun, NULL, 10000));

    size_t used = mem_used_now(true), limit = used / 4 * 3;
    set_limit(store, limit);
    int64_t held_until_ms = 0;
    size_t first = 0, before;
    do { /* in slices, until the first in which nothing goes */
        before = evicted(store);
        turn(store);
    } while (!evicted(store) || evicted(store) != before);
    first = evicted(store);
    for (held_until_ms = wait_now_ms() + HELD_MS; wait_now_ms() < held_until_ms;)
        turn(store);
    assert_int_equal(evicted(store), first);

    atomic_store(&other.over, true);
    assert_true(wait_until(within, store, 60000));
    print_message("%zu of %d evicted at once, %zu in all, for %.2f of the memory\n", first, ELEMENTS, evicted(store),
                  (double)mem_used_now(true) / (double)used);
    assert_true(evicted(store) <= first + first / 8);
    assert_int_equal(vs_index_count(index), ELEMENTS - evicted(store));
    settle(store);
    vs_close(store);
}

/* ---- attributes of the dead ---- */

#define TEXT_BYTES 4096
#define SOME       8 /* far too few dead for a mending */

static void describe(struct vs_index *index, uint32_t from, uint32_t to)
{
    static char text[TEXT_BYTES];
    for (uint32_t i = from; i < to; i++) {
        memset(text, 'a' + (int)(i % 26), sizeof(text));
        assert_int_equal(vs_set_attributes(index, &i, sizeof(i), text, sizeof(text)), VS_OK);
    }
}

static bool dropped(void *arg)
{
    struct vs_index *index = arg;
    vs_poll(index->store, 200);
    return index_table(index)->part[0]->dead_attributes == 0;
}

/* They come back once no reader sees them, long before the slots do; who saw them alive reads them until then. */
static void test_attributes(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &OPTIONS);
    const struct partition *p = index_table(index)->part[0];
    fill(index, 0, 2000);
    describe(index, 0, 2 * SOME);
    settle(store);
    struct rng rng = {3};
    float vector[64];
    struct vs_hit hit;
    size_t n, len, before = p->attributes_bytes;
    numbered(&rng, vector, OPTIONS.dim);
    struct vs_reader *reader = vs_reader_new(store);
    assert_int_equal(vs_search_now(reader, index, &(struct vs_query){.vector = vector, .k = 1}, &hit, 1, &n), VS_OK);
    assert_int_equal(n, 1);
    assert_int_equal(number_of(&hit), 3);

    drain(index, 0, SOME, 1);
    for (int i = 0; i < 100; i++)
        vs_poll(store, 200);
    assert_true(p->dead_attributes >= SOME * TEXT_BYTES);
    const char *text = vs_hit_attributes(&hit, &len);
    assert_int_equal(len, TEXT_BYTES);
    assert_int_equal(text[len - 1], 'a' + 3);

    vs_reader_idle(reader);
    assert_true(wait_until(dropped, index, 10000));
    assert_true(graph_slack(p->graph).slots - graph_slack(p->graph).free > graph_slack(p->graph).alive);
    assert_true(p->attributes_bytes <= before / 2);

    /* The same where an element is replaced, and where slots come back as usual. */
    fill(index, SOME + 1, SOME + 2);
    drain(index, SOME, 2000, 1);
    assert_int_equal(vs_settle(store, 60000), VS_OK);
    assert_true(wait_until(dropped, index, 10000));
    assert_int_equal(p->attributes_bytes, 0);
    vs_reader_free(reader);
    vs_close(store);
}

/* ---- who waits and tries again ---- */

#define BUFFERS  98304 /* of a command, while it runs */
#define RETRY_MS 20000 /* between two that are added */
#define FEW      1000  /* beside ELEMENTS */

/* A command's try: its buffers count. */
static enum vs_status try_adding(struct vs_store *store, struct vs_index *index, uint32_t id)
{
    void *buffers = mem_alloc(BUFFERS);
    vs_memory_check(store, 0, clock_mono_ns() + 150000);
    struct rng rng = {id + 1};
    float vector[64];
    numbered(&rng, vector, OPTIONS.dim);
    struct vs_element e = {.id = &id, .id_len = sizeof(id), .vector = vector};
    enum vs_status status = vs_add(index, &e, VS_ADD_ANY, NULL);
    mem_free(buffers);
    return status;
}

/* Until there is place, or nothing is left that could make any. */
static enum vs_status add_waiting(struct vs_store *store, struct vs_index *index, uint32_t id)
{
    int64_t until_ms = wait_now_ms() + RETRY_MS;
    for (;;) {
        enum vs_status status = try_adding(store, index, id);
        if (status != VS_BACKLOG)
            return status;
        turn(store);
        if (wait_now_ms() > until_ms)
            fail_msg("%u added, limit %zu", id, store->evict.limit.max);
    }
}

static void end_later(struct vs_index *index, uint32_t n)
{
    for (uint32_t id = 0; id < n; id++)
        assert_int_equal(vs_set_deadline(index, &id, sizeof(id), clock_wall_ms() + 3600000), VS_OK);
}

/* Who waits for memory is not refused for ever for the sake of buffers that are not there between two tries. And it does not
 * wait for what nobody will fetch: when the last element that may go is gone it is told that memory is full. */
static void add_until_full(uint32_t n)
{
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &OPTIONS), *small = create(store, "small", &OPTIONS);
    fill(index, 0, n);
    end_later(index, n);
    settle(store);
    vs_set_memory_limit(store, &(struct vs_memory_limit){.max = mem_used_now(true) + mem_used_now(true) / 16,
                                                         .policy = VS_EVICT_TTL_LRU, /* `small` stays */
                                                         .samples = 5});
    enum vs_status status = VS_OK;
    uint32_t id = 0;
    while (status == VS_OK)
        status = add_waiting(store, small, id++);
    assert_int_equal(status, VS_FULL);
    assert_int_equal(vs_index_count(index), 0);
    assert_int_equal(evicted(store), n);
    vs_close(store);
}

static void test_retry(void **state)
{
    (void)state;
    add_until_full(1000); /* growth fits in the end without the buffers alone */
    add_until_full(1390); /* too few are dead in the end to be mended */
}

/* Few that may go are found beside many that may not, before memory is said to be full. */
static void test_few_ending(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *few = create(store, "few", &OPTIONS), *many = create(store, "many", &OPTIONS);
    fill(few, 0, FEW);
    end_later(few, FEW);
    fill(many, 0, ELEMENTS);
    settle(store);
    vs_set_memory_limit(store, &(struct vs_memory_limit){
                                   .max = mem_used_now(true) / 2, .policy = VS_EVICT_TTL_LRU, .samples = 5});
    int64_t until_ms = wait_now_ms() + RETRY_MS;
    while (turn(store) != VS_MEMORY_FULL)
        assert_true(wait_now_ms() < until_ms);
    assert_int_equal(vs_index_count(few), 0);
    assert_int_equal(vs_index_count(many), ELEMENTS);
    vs_close(store);
}

/* ---- nothing may go ---- */

static enum vs_status describe_new(struct vs_index *index, uint32_t id, const char *text, size_t len)
{
    struct rng rng = {id + 1};
    float vector[64];
    numbered(&rng, vector, OPTIONS.dim);
    return vs_add(index,
                  &(struct vs_element){
                      .id = &id, .id_len = sizeof(id), .vector = vector, .attributes = text, .attributes_len = len},
                  VS_ADD_ANY, NULL);
}

/* What does not count, such as buffers, has a place below the limit; where nothing may go nobody waits for that place to be
 * made. Records get all of the limit, then writers are told. */
static void test_nothing_may_go(void **state)
{
    (void)state;
    static char text[TEXT_BYTES];
    memset(text, 'a', sizeof(text));
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &OPTIONS);
    fill(index, 0, ELEMENTS);
    settle(store);
    size_t used = mem_used_now(true), max = used + used / 16, apart = max / 8;
    void *buffers = mem_alloc(apart);
    memset(buffers, 1, apart);
    vs_set_memory_limit(store, &(struct vs_memory_limit){.max = max, .policy = VS_EVICT_TTL_LRU, .samples = 5});
    int64_t until_ms = wait_now_ms() + RETRY_MS;
    uint32_t id = 0;
    for (bool full = false; !full;) {
        assert_true(wait_now_ms() < until_ms);
        vs_poll(store, 200);
        enum vs_memory_state memory = vs_memory_check(store, apart, clock_mono_ns() + 150000);
        full = memory == VS_MEMORY_FULL;
        if (memory != VS_MEMORY_OK)
            continue;
        enum vs_status status = describe_new(index, ELEMENTS + id, text, sizeof(text));
        id += status == VS_OK;
        full = status == VS_FULL;
    }
    size_t counted = mem_used_now(true) - apart;
    print_message("%u elements with attributes of %d bytes until memory was full: %.3f of the limit\n", id, TEXT_BYTES,
                  (double)counted / (double)max);
    assert_true(counted > max - max / 32);
    assert_true(counted <= max + max / 64);
    assert_int_equal(vs_index_count(index), ELEMENTS + id);
    mem_free(buffers);
    vs_close(store);
}

static bool nobody_waits(void *arg)
{
    struct vs_store *store = arg;
    turn(store);
    return !store->evict.need;
}

/* For a writer that is gone nothing goes any more. */
static void test_gone(void **state)
{
    (void)state;
    struct vs_store *store = open_store(1);
    struct vs_index *index = create(store, "k", &OPTIONS);
    fill(index, 0, ELEMENTS);
    settle(store);
    size_t max = mem_used_now(true) / 4 * 3, asked = max / 4; /* three times that is reckoned with */
    set_limit(store, max);
    assert_true(wait_until(within, store, 60000));
    char *text = mem_alloc(asked);
    memset(text, 'a', asked);
    assert_int_equal(describe_new(index, ELEMENTS, text, asked), VS_BACKLOG);
    mem_free(text);
    assert_true(store->evict.need > 0);
    assert_true(wait_until(nobody_waits, store, 10000));

    uint64_t before = evicted(store);
    size_t count = vs_index_count(index);
    for (int64_t until_ms = wait_now_ms() + HELD_MS; wait_now_ms() < until_ms;)
        turn(store);
    assert_int_equal(evicted(store), before);
    uint32_t id = ELEMENTS;
    for (; id < ELEMENTS + FEW; id++)
        assert_int_equal(add_waiting(store, index, id), VS_OK);
    print_message("%zu left, then %zu of %zu\n", count, vs_index_count(index), count + FEW);
    assert_true(vs_index_count(index) > FEW / 2);
    vs_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slow_mending), cmocka_unit_test(test_attributes),
                                       cmocka_unit_test(test_retry), cmocka_unit_test(test_few_ending),
                                       cmocka_unit_test(test_nothing_may_go), cmocka_unit_test(test_gone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
