/* Epochs: nothing is reclaimed while a reader may see it, everything is once they have left. */
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

#include "base/epoch.h"
#include "base/mem.h"

#define READERS 3
#define ROUNDS 20000
#define ALIVE 0x616c697665ull

struct object {
    struct epoch_item item;
    uint64_t magic;
};

static void reclaim_object(struct epoch_item *item, void *arg)
{
    struct object *o = (struct object *)item;
    assert_true(o->magic == ALIVE);
    o->magic = 0;
    ++*(size_t *)arg;
    mem_free(o);
}

static struct object *object_new(void)
{
    struct object *o = mem_alloc(sizeof(*o));
    o->magic = ALIVE;
    return o;
}

static void a_reader_holds_back_what_it_may_see(void **state)
{
    (void)state;
    size_t freed = 0;
    struct epoch *e = epoch_new();
    struct epoch_reader *early = epoch_reader_new(e), *late = epoch_reader_new(e);
    epoch_retire(e, &object_new()->item, reclaim_object, &freed);
    assert_int_equal(epoch_reclaim(e, SIZE_MAX), 0);
    assert_int_equal(freed, 1);

    epoch_enter(e, early);
    for (int i = 0; i < 10; i++)
        epoch_retire(e, &object_new()->item, reclaim_object, &freed);
    assert_int_equal(epoch_reclaim(e, SIZE_MAX), 10);
    epoch_enter(e, late);
    epoch_retire_free(e, mem_alloc(100));
    assert_int_equal(epoch_reclaim(e, SIZE_MAX), 11);
    epoch_exit(early);
    assert_int_equal(epoch_reclaim(e, 4), 7);      /* at most so many at once */
    assert_int_equal(freed, 5);
    assert_int_equal(epoch_reclaim(e, SIZE_MAX), 1); /* the block came after `late` */
    assert_int_equal(freed, 11);
    epoch_exit(late);
    assert_int_equal(epoch_reclaim(e, SIZE_MAX), 0);
    epoch_retire(e, &object_new()->item, reclaim_object, &freed);
    epoch_reader_free(e, early);
    epoch_reader_free(e, late);
    epoch_free(e);
    assert_int_equal(freed, 12);
}

struct chain {
    struct epoch_item item;
    struct epoch *e;
    int left;
};

static void reclaim_chain(struct epoch_item *item, void *arg)
{
    struct chain *c = (struct chain *)item;
    if (c->left-- > 0)
        epoch_retire(c->e, item, reclaim_chain, arg);
    else
        mem_free(c);
}

static void reclaiming_may_retire(void **state)
{
    (void)state;
    struct epoch *e = epoch_new();
    struct chain *c = mem_zalloc(sizeof(*c));
    c->e = e;
    c->left = 5;
    epoch_retire(e, &c->item, reclaim_chain, NULL);
    int calls = 1;
    while (epoch_reclaim(e, SIZE_MAX) > 0)
        calls++;
    assert_int_equal(calls, 6);
    epoch_free(e);
}

struct shared {
    struct epoch *e;
    _Atomic(struct object *) published;
    atomic_bool stop;
    atomic_size_t reads, bad;
};

static void *read_all_the_time(void *arg)
{
    struct shared *s = arg;
    while (!atomic_load_explicit(&s->stop, memory_order_relaxed)) {
        struct epoch_reader *r = epoch_reader_new(s->e);
        for (int i = 0; i < 100; i++) {
            epoch_enter(s->e, r);
            struct object *o = atomic_load_explicit(&s->published, memory_order_acquire);
            if (o->magic != ALIVE)
                atomic_fetch_add(&s->bad, 1);
            epoch_exit(r);
        }
        epoch_reader_free(s->e, r);
        atomic_fetch_add(&s->reads, 100);
    }
    return NULL;
}

static void readers_never_meet_freed_memory(void **state)
{
    (void)state;
    size_t freed = 0;
    pthread_t threads[READERS];
    struct shared s = {.e = epoch_new()};
    atomic_init(&s.published, object_new());
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all_the_time, &s), 0);
    for (size_t i = 0; i < ROUNDS || atomic_load(&s.reads) < 2000; i++) {
        struct object *old = atomic_exchange_explicit(&s.published, object_new(), memory_order_acq_rel);
        epoch_retire(s.e, &old->item, reclaim_object, &freed);
        if (i % 3 == 0)
            epoch_reclaim(s.e, 10);
    }
    atomic_store(&s.stop, true);
    for (size_t i = 0; i < READERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(atomic_load(&s.bad), 0);
    assert_int_equal(epoch_reclaim(s.e, SIZE_MAX), 0);
    assert_true(freed >= ROUNDS);
    mem_free(atomic_load(&s.published));
    epoch_free(s.e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_holds_back_what_it_may_see),
        cmocka_unit_test(reclaiming_may_retire),
        cmocka_unit_test(readers_never_meet_freed_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
