#include "lib/stores.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "lib/driver.h"
#include "lib/effects.h"
#include "lib/run.h"
#include "store/store_int.h"

#define SETTLE_MS 60000

struct vs_store *stores_open(unsigned threads)
{
    struct vs_options o = {.threads = threads, .databases = DRIVER_DATABASES};
    struct vs_store *store;
    assert_int_equal(vs_open(&o, &store), VS_OK);
    store->piece_bytes = 1000; /* so that most copies come in some */
    return store;
}

void stores_settle(struct vs_store *store)
{
    assert_int_equal(vs_settle(store, SETTLE_MS), VS_OK);
    const char *wrong = store_check(store);
    if (wrong)
        fail_msg("seed %llu: %s", (unsigned long long)run_seed(), wrong);
}

void stores_assert_same(struct vs_store *a, struct vs_store *b, const char *what)
{
    stores_settle(a);
    stores_settle(b);
    const char *difference = effects_compare(a, b);
    if (difference)
        fail_msg("seed %llu: %s: %s", (unsigned long long)run_seed(), what, difference);
}
