/* The worker pool: every task runs once, searches come first, linking keeps its share. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"

#define TASKS 3000

struct counted {
    struct pool_task task;
    struct pool *pool;
    atomic_uint runs;
    unsigned again;          /* times it submits itself once more */
};

static void run_counted(struct pool_task *task, unsigned worker)
{
    struct counted *c = (struct counted *)task;
    unsigned threads = pool_threads(c->pool);
    assert_true(worker < (threads ? threads : 1));
    atomic_fetch_add(&c->runs, 1);
    if (c->again > 0) {
        c->again--;
        pool_submit(c->pool, POOL_LINK, task);
    }
}

struct submitter {
    struct pool *pool;
    struct counted *tasks;
};

static void *submit_all(void *arg)
{
    struct submitter *s = arg;
    for (unsigned i = 0; i < TASKS; i++) {
        s->tasks[i].pool = s->pool;
        s->tasks[i].task.run = run_counted;
        s->tasks[i].again = i % 7 == 0 ? 3 : 0;
        pool_submit(s->pool, i % 3 ? POOL_SEARCH : POOL_LINK, &s->tasks[i].task);
    }
    return NULL;
}

static void every_task_runs_once(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 4; threads++) {
        struct submitter s[2];
        pthread_t thread;
        struct pool *p = pool_new(threads, "test");
        assert_non_null(p);
        for (size_t i = 0; i < 2; i++)
            s[i] = (struct submitter){p, mem_zalloc(TASKS * sizeof(struct counted))};
        assert_int_equal(pthread_create(&thread, NULL, submit_all, &s[0]), 0);
        submit_all(&s[1]);
        pthread_join(thread, NULL);
        pool_drain(p);
        pool_free(p);
        for (size_t i = 0; i < 2; i++) {
            for (unsigned k = 0; k < TASKS; k++)
                assert_int_equal(atomic_load(&s[i].tasks[k].runs), k % 7 == 0 ? 4 : 1);
            mem_free(s[i].tasks);
        }
    }
}

static void without_threads_draining_runs_them(void **state)
{
    (void)state;
    struct submitter s = {pool_new(0, "none"), mem_zalloc(TASKS * sizeof(struct counted))};
    struct pool_stats stats;
    submit_all(&s);
    pool_stats_read(s.pool, &stats);
    assert_int_equal(stats.waiting[POOL_SEARCH] + stats.waiting[POOL_LINK], TASKS);
    pool_drain(s.pool);
    pool_stats_read(s.pool, &stats);
    assert_int_equal(stats.waiting[POOL_SEARCH] + stats.waiting[POOL_LINK], 0);
    assert_int_equal(stats.tasks[POOL_SEARCH], 2 * TASKS / 3);
    for (unsigned k = 0; k < TASKS; k++)
        assert_int_equal(atomic_load(&s.tasks[k].runs), k % 7 == 0 ? 4 : 1);
    pool_free(s.pool);
    mem_free(s.tasks);
}

struct share {
    struct pool *pool;
    unsigned searches_left;
    bool over;                    /* the last search has begun: what follows is not measured */
    struct pool_stats at_end;
    bool yield_seen;
};

struct spinner {
    struct pool_task task;
    struct share *share;
    enum pool_kind kind;
    uint64_t spin_ns;
};

static void run_spinner(struct pool_task *task, unsigned worker)
{
    struct spinner *s = (struct spinner *)task;
    struct share *share = s->share;
    for (uint64_t end = clock_mono_ns() + s->spin_ns; clock_mono_ns() < end;)
        ;
    if (s->kind == POOL_LINK && !share->over && pool_should_yield(share->pool, worker))
        share->yield_seen = true;
    if (s->kind == POOL_SEARCH && share->searches_left > 0 && --share->searches_left == 0) {
        share->over = true;
        pool_stats_read(share->pool, &share->at_end);
    }
    if (!share->over)
        pool_submit(share->pool, s->kind, task);
}

/* No thread but this one: the choice between the queues is then a matter of the account alone. Times are the pool's own,
 * so a machine that is busy with other things does not matter. */
static void linking_gets_half_while_both_wait(void **state)
{
    enum { SEARCHES = 8, LINKS = 2 };
    (void)state;
    struct spinner s[SEARCHES + LINKS];
    struct share share = {.pool = pool_new(0, "share"), .searches_left = 1000};
    for (size_t i = 0; i < SEARCHES + LINKS; i++) {
        bool link = i >= SEARCHES;
        s[i] = (struct spinner){.share = &share, .kind = link ? POOL_LINK : POOL_SEARCH, .spin_ns = link ? 300000 : 100000};
        s[i].task.run = run_spinner;
        pool_submit(share.pool, s[i].kind, &s[i].task);
    }
    pool_drain(share.pool);
    double link = (double)share.at_end.busy_ns[POOL_LINK], search = (double)share.at_end.busy_ns[POOL_SEARCH];
    print_message("linking had %.1f %% of the time\n", 100 * link / (link + search));
    assert_true(link / (link + search) > 0.45 && link / (link + search) < 0.6);
    assert_true(share.yield_seen);
    pool_free(share.pool);
}

/* A search that waits asks a linking task that nobody is owed anything to make room; without one nothing asks. */
static void waiting_searches_ask_for_room(void **state)
{
    (void)state;
    struct pool *p = pool_new(0, "yield");
    struct counted search = {.pool = p, .task.run = run_counted};
    assert_false(pool_should_yield(p, 0));
    pool_submit(p, POOL_SEARCH, &search.task);
    assert_true(pool_should_yield(p, 0));
    pool_drain(p);
    assert_false(pool_should_yield(p, 0));
    pool_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_task_runs_once),
        cmocka_unit_test(without_threads_draining_runs_them),
        cmocka_unit_test(linking_gets_half_while_both_wait),
        cmocka_unit_test(waiting_searches_ask_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
