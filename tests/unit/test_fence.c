/* The fence, with forged hellos and a clock of the test's own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "lib/run.h"
#include "repl/fence.h"

#define US "10.0.0.1:6379"

static const char *const self[] = {US, NULL};
static uint64_t now;
static struct fence *f;

static int begin(void **state)
{
    (void)state;
    now = 1000000;
    f = fence_new();
    fence_set_options(f, &(struct fence_options){.stall_ms = 1500, .hello_ms = 2800});
    return 0;
}

static int end(void **state)
{
    (void)state;
    fence_free(f);
    return 0;
}

/* Sentinel `n` says that `host` is the primary, of `epoch`. */
static void hello(int n, const char *host, unsigned epoch, unsigned voted)
{
    char text[256];
    snprintf(text, sizeof(text), "10.0.0.%d,26379,%040d,%u,mymaster,%s,6379,%u", 100 + n, n, voted, host, epoch);
    assert_true(fence_hello(f, text, strlen(text), self, 2, now));
}

static void all_say(const char *host, unsigned epoch, unsigned voted)
{
    for (int n = 1; n <= 3; n++)
        hello(n, host, epoch, voted);
}

/* The loop turns every 100 ms for so long; true: it closed. */
static bool pass(uint64_t ms)
{
    bool closed = false;
    for (uint64_t end_ms = now + ms; now < end_ms;) {
        now += 100;
        closed |= fence_turn(f, now);
    }
    return closed;
}

/* .. while all sentinels say the same every two seconds. */
static bool live(uint64_t ms, const char *host, unsigned epoch, unsigned voted)
{
    bool closed = false;
    for (uint64_t at = 0; at < ms; at += 2000) {
        all_say(host, epoch, voted);
        closed |= pass(2000);
    }
    return closed;
}

static void it_is_passive_until_hellos_were_heard(void **state)
{
    (void)state;
    assert_false(pass(10000));
    now += 60000;
    assert_false(fence_turn(f, now));
    assert_null(fence_error(f));
    struct buf out = {0};
    fence_info(f, &out);
    assert_int_equal(out.len, 0);
}

static void it_stays_open_while_a_quorum_names_us(void **state)
{
    (void)state;
    assert_false(live(60000, "10.0.0.1", 4, 4));
    assert_int_equal(fence_sentinels(f), 3);
    assert_int_equal(fence_quorum(f), 2);
    /* One of three falls silent. */
    for (int i = 0; i < 50; i++) {
        hello(1, "10.0.0.1", 4, 4);
        hello(2, "10.0.0.1", 4, 4);
        assert_false(pass(2000));
    }
    assert_int_equal(fence_closings(f), 0);
}

static void a_stall_closes_it_and_old_hellos_do_not_open_it(void **state)
{
    (void)state;
    live(10000, "10.0.0.1", 4, 4);
    now += 10000;
    assert_true(fence_turn(f, now));
    assert_int_equal(fence_state(f), FENCE_STALLED);
    assert_int_equal(strncmp(fence_error(f), "READONLY ", 9), 0);
    /* What the sockets held. */
    for (int i = 0; i < 5; i++)
        all_say("10.0.0.1", 4, 4);
    now += 200;
    fence_turn(f, now);
    all_say("10.0.0.1", 4, 4);
    assert_int_equal(fence_state(f), FENCE_STALLED);
    /* What is said later counts, from a quorum. */
    pass(FENCE_SETTLE_MS);
    hello(1, "10.0.0.1", 4, 4);
    hello(1, "10.0.0.1", 4, 4);
    assert_int_equal(fence_state(f), FENCE_STALLED);
    hello(2, "10.0.0.1", 4, 4);
    assert_int_equal(fence_state(f), FENCE_OPEN);
    assert_int_equal(fence_closings(f), 1);
}

static void a_primary_that_was_replaced_stays_closed(void **state)
{
    (void)state;
    live(10000, "10.0.0.1", 4, 4);
    now += 10000;
    fence_turn(f, now);
    all_say("10.0.0.1", 4, 4);
    assert_true(!live(60000, "10.0.0.2", 5, 5));
    assert_non_null(fence_error(f));
    fence_follow(f);
    assert_null(fence_error(f));
    assert_false(live(60000, "10.0.0.2", 5, 5));
    now += 60000;
    assert_false(fence_turn(f, now));
    /* Made the primary again: the sentinels have not heard of it yet. */
    fence_lead(f, now);
    assert_false(live(4000, "10.0.0.2", 5, 6));
    assert_false(live(60000, "10.0.0.1", 6, 6));
    assert_null(fence_error(f));
}

static void an_election_has_to_end_first(void **state)
{
    (void)state;
    live(10000, "10.0.0.1", 4, 4);
    now += 4000;
    assert_true(fence_turn(f, now));
    pass(1200);
    /* They vote, and have not seen the outcome. */
    all_say("10.0.0.1", 4, 5);
    assert_int_equal(fence_state(f), FENCE_STALLED);
    pass(2000);
    all_say("10.0.0.1", 4, 5);
    assert_int_equal(fence_state(f), FENCE_STALLED);
    pass(2000);
    all_say("10.0.0.1", 4, 5);
    assert_int_equal(fence_state(f), FENCE_OPEN);
}

static void silence_closes_it_within_its_time(void **state)
{
    (void)state;
    live(10000, "10.0.0.1", 4, 4);
    all_say("10.0.0.1", 4, 4);
    assert_false(pass(2700));
    assert_true(pass(100));
    assert_int_equal(fence_state(f), FENCE_SILENT);
    /* An hour of it changes nothing. */
    assert_false(pass(2 * FENCE_FORGET_MS));
    assert_int_equal(fence_sentinels(f), 3);
    /* The first words may be old. */
    all_say("10.0.0.1", 4, 4);
    assert_int_equal(fence_state(f), FENCE_SILENT);
    pass(FENCE_SETTLE_MS);
    all_say("10.0.0.1", 4, 4);
    assert_int_equal(fence_state(f), FENCE_OPEN);
}

static void a_minority_that_is_heard_is_silence(void **state)
{
    (void)state;
    live(10000, "10.0.0.1", 4, 4);
    bool closed = false;
    for (int i = 0; i < 5; i++) {
        hello(3, "10.0.0.1", 4, 4);
        closed |= pass(2000);
    }
    assert_true(closed);
    assert_int_equal(fence_state(f), FENCE_SILENT);
}

static void a_quorum_that_names_another_closes_it_at_once(void **state)
{
    (void)state;
    live(10000, "10.0.0.1", 4, 4);
    hello(1, "10.0.0.2", 5, 5);
    assert_int_equal(fence_state(f), FENCE_OPEN);
    hello(2, "10.0.0.2", 5, 5);
    assert_int_equal(fence_state(f), FENCE_SUPERSEDED);
    /* The third has not heard of it. */
    hello(3, "10.0.0.1", 4, 5);
    pass(FENCE_ELECTION_MS + 1000);
    hello(3, "10.0.0.1", 4, 5);
    assert_int_equal(fence_state(f), FENCE_SUPERSEDED);
    /* They have turned back to us. */
    all_say("10.0.0.1", 6, 6);
    pass(FENCE_ELECTION_MS + 1000);
    all_say("10.0.0.1", 6, 6);
    assert_int_equal(fence_state(f), FENCE_OPEN);
}

static void one_voice_does_not_close_it_and_cannot_hold_it_closed(void **state)
{
    (void)state;
    live(10000, "10.0.0.1", 4, 4);
    hello(9, "10.6.6.6", 4000000000u, 4);
    assert_int_equal(fence_state(f), FENCE_OPEN);
    assert_false(live(20000, "10.0.0.1", 4, 4));
    now += 5000;
    assert_true(fence_turn(f, now));
    pass(FENCE_SETTLE_MS);
    live(4000, "10.0.0.1", 4, 4);
    assert_int_equal(fence_state(f), FENCE_OPEN);
}

static void a_primary_that_restarts_learns_that_it_was_replaced(void **state)
{
    (void)state;
    hello(1, "10.0.0.2", 5, 5);
    assert_int_equal(fence_state(f), FENCE_SUPERSEDED);
}

static void an_announced_address_is_us(void **state)
{
    (void)state;
    const char *const announced[] = {"172.17.0.3:6379", "db.example.org:7000"};
    const char text[] = "10.0.0.9,26379,8f7b827d665640b27603c4a7e2ac428520742826,3,m,db.example.org,7000,3";
    assert_true(fence_hello(f, text, strlen(text), announced, 2, now));
    assert_int_equal(fence_state(f), FENCE_OPEN);
    const char six[] = "::1,26379,9f7b827d665640b27603c4a7e2ac428520742826,3,m,::1,7000,3";
    const char *const bracketed[] = {"[::1]:7000"};
    assert_true(fence_hello(f, six, strlen(six), bracketed, 1, now));
    assert_int_equal(fence_state(f), FENCE_OPEN);
}

static void a_sentinel_with_a_new_id_takes_the_place_of_the_old(void **state)
{
    (void)state;
    live(4000, "10.0.0.1", 4, 4);
    for (int n = 1; n <= 3; n++) {
        char text[256];
        snprintf(text, sizeof(text), "10.0.0.%d,26379,%040d,4,mymaster,10.0.0.1,6379,4", 100 + n, 50 + n);
        assert_true(fence_hello(f, text, strlen(text), self, 2, now));
    }
    assert_int_equal(fence_sentinels(f), 3);
}

static void a_quorum_may_be_asked_for(void **state)
{
    (void)state;
    fence_set_options(f, &(struct fence_options){.quorum = 1, .stall_ms = 1500, .hello_ms = 2800});
    live(4000, "10.0.0.1", 4, 4);
    for (int i = 0; i < 5; i++) {
        hello(3, "10.0.0.1", 4, 4);
        assert_false(pass(2000));
    }
    hello(1, "10.0.0.2", 5, 5);
    assert_int_equal(fence_state(f), FENCE_SUPERSEDED);
}

static void both_rules_can_be_switched_off(void **state)
{
    (void)state;
    live(4000, "10.0.0.1", 4, 4);
    pass(10000);
    assert_int_equal(fence_state(f), FENCE_SILENT);
    fence_set_options(f, &(struct fence_options){0});
    live(4000, "10.0.0.1", 4, 4);
    assert_false(pass(60000));
    now += 60000;
    assert_false(fence_turn(f, now));
}

/* Whatever comes, it is a hello or not, and nothing breaks. */
static void what_is_no_hello_is_refused(void **state)
{
    (void)state;
    static const char good[] = "10.0.0.9,26379,8f7b827d665640b27603c4a7e2ac428520742826,3,m,10.0.0.1,6379,3";
    static const char *const bad[] = {"", ",", ",,,,,,,", "a,b,c", "1,2,3,4,5,6,7,8",
        "10.0.0.9,99999,8f7b827d665640b27603c4a7e2ac428520742826,3,m,10.0.0.1,6379,3",
        "10.0.0.9,26379,8f7b827d665640b27603c4a7e2ac42852074282,3,m,10.0.0.1,6379,3",
        "10.0.0.9,26379,8f7b827d665640b27603c4a7e2ac428520742826,-3,m,10.0.0.1,6379,3",
        "10.0.0.9,26379,8f7b827d665640b27603c4a7e2ac428520742826,3,m,,6379,3",
        "10.0.0.9,26379,8f7b827d665640b27603c4a7e2ac428520742826,3,m,10.0.0.1,6379,3,"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_false(fence_hello(f, bad[i], strlen(bad[i]), self, 2, now));
    struct rng rng;
    rng = (struct rng){run_seed()};
    for (int i = 0; i < 20000; i++) {
        char text[sizeof(good)];
        memcpy(text, good, sizeof(good));
        for (unsigned n = (unsigned)rng_below(&rng, 4) + 1; n; n--)
            text[rng_below(&rng, sizeof(text) - 1)] = (char)rng_below(&rng, 256);
        fence_hello(f, text, rng_below(&rng, sizeof(text)), self, 2, now);
        now += rng_below(&rng, 50);
    }
    assert_true(fence_sentinels(f) <= FENCE_SENTINELS);
    char big[2000];
    memset(big, '1', sizeof(big));
    assert_false(fence_hello(f, big, sizeof(big), self, 2, now));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
        TEST(it_is_passive_until_hellos_were_heard),
        TEST(it_stays_open_while_a_quorum_names_us),
        TEST(a_stall_closes_it_and_old_hellos_do_not_open_it),
        TEST(a_primary_that_was_replaced_stays_closed),
        TEST(an_election_has_to_end_first),
        TEST(silence_closes_it_within_its_time),
        TEST(a_minority_that_is_heard_is_silence),
        TEST(a_quorum_that_names_another_closes_it_at_once),
        TEST(one_voice_does_not_close_it_and_cannot_hold_it_closed),
        TEST(a_primary_that_restarts_learns_that_it_was_replaced),
        TEST(an_announced_address_is_us),
        TEST(a_sentinel_with_a_new_id_takes_the_place_of_the_old),
        TEST(a_quorum_may_be_asked_for),
        TEST(both_rules_can_be_switched_off),
        TEST(what_is_no_hello_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
