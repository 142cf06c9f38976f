/* Posting to the loop: nothing posted is left lying, and a loop that dozes is not woken. What goes first in a flush. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/run.h"
#include "lib/wait.h"
#include "net/net.h"

#define POSTS 2000

struct job {
    struct net_post post;
    struct rig *rig;
};

struct rig {
    struct net *net;
    void (*how)(struct net *n, struct net_post *post);
    size_t run;               /* the loop's */
    atomic_size_t seen;       /* of `run`, for the poster */
    struct job jobs[POSTS];
};

static bool no_client(void *arg, struct net_conn *conn)
{
    (void)arg;
    (void)conn;
    return false;
}

static void gone(void *arg, struct net_conn *conn)
{
    (void)arg;
    (void)conn;
}

static void on_post(struct net_post *post)
{
    struct rig *r = ((struct job *)post)->rig;
    r->run++;
    atomic_store(&r->seen, r->run);
}

/* One post after the other has been run, so that the loop sleeps, or is about to, when the next comes. */
static void *post_all(void *arg)
{
    struct rig *r = arg;
    for (size_t i = 0; i < POSTS; i++) {
        r->jobs[i] = (struct job){.post.run = on_post, .rig = r};
        r->how(r->net, &r->jobs[i].post);
        while (atomic_load(&r->seen) <= i)
            sched_yield();
    }
    return NULL;
}

/* Runs POSTS posts of another thread with polls of `timeout_us`; how often the loop was woken. */
static uint64_t wakes_of(void (*how)(struct net *n, struct net_post *post), int64_t timeout_us)
{
    static struct rig r;
    pthread_t thread;
    struct net_stats stats;
    int64_t end = wait_now_ms() + 60000;
    r = (struct rig){.how = how};
    r.net = net_new(&(struct net_options){.open = no_client, .gone = gone});
    assert_non_null(r.net);
    assert_int_equal(pthread_create(&thread, NULL, post_all, &r), 0);
    while (r.run < POSTS) {
        net_poll(r.net, timeout_us);
        net_run_posts(r.net, UINT64_MAX);
        assert_true(wait_now_ms() < end);
    }
    pthread_join(thread, NULL);
    net_stats_read(r.net, &stats);
    net_free(r.net);
    return stats.wakes;
}

static void a_sleeping_loop_is_woken(void **state)
{
    (void)state;
    assert_true(wakes_of(net_post, -1) > 0);
    assert_true(wakes_of(net_post_more, -1) > 0);
    assert_true(wakes_of(net_post_more, 10 * NET_DOZE_US) > 0);
}

static void a_dozing_loop_is_left_to_it(void **state)
{
    (void)state;
    assert_true(wakes_of(net_post, NET_DOZE_US) > 0);
    assert_int_equal(wakes_of(net_post_more, NET_DOZE_US), 0);
}

/* ---- the order of a flush ---- */

struct pair {
    struct net_conn *conn[2];
    int n;
};

static bool take_client(void *arg, struct net_conn *conn)
{
    struct pair *p = arg;
    p->conn[p->n++] = conn;
    return true;
}

static bool has_bytes(int fd)
{
    char byte;
    return recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 1;
}

/* One connection a flush, for no time is given. */
static void first_means_first(void **state)
{
    (void)state;
    struct pair p = {0};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct buf error = {0};
    char dir[80];
    int fd[2];
    assert_int_equal(run_make_directory("test_net", dir, sizeof(dir)), 0);
    snprintf(at.sun_path, sizeof(at.sun_path), "%s/s", dir);
    struct net *net = net_new(&(struct net_options){.open = take_client, .gone = gone, .arg = &p});
    assert_true(net_listen(net, &(struct net_listen_options){.unix_path = at.sun_path}, &error));
    for (int i = 0; i < 2; i++) {
        fd[i] = socket(AF_UNIX, SOCK_STREAM, 0);
        assert_int_equal(connect(fd[i], (struct sockaddr *)&at, sizeof(at)), 0);
        for (int64_t end = wait_now_ms() + 10000; p.n <= i; assert_true(wait_now_ms() < end))
            net_poll(net, 1000);
    }
    for (int queued = 0; queued < 2; queued++) {
        for (int i = 0; i < 2; i++)
            buf_append(net_conn_out(p.conn[i]), "x", 1);
        net_conn_send(p.conn[0]);
        if (queued)
            net_conn_send(p.conn[1]);
        net_conn_send_first(p.conn[1]);
        assert_true(net_flush(net, 0));
        assert_false(has_bytes(fd[0]));
        assert_true(has_bytes(fd[1]));
        assert_false(net_flush(net, 0));
        for (int i = 0; i < 2; i++) {
            char byte;
            assert_int_equal(recv(fd[i], &byte, 1, 0), 1);
        }
    }
    for (int i = 0; i < 2; i++) {
        net_conn_close(p.conn[i]);
        close(fd[i]);
    }
    net_free(net);
    buf_release(&error);
    assert_int_equal(run_remove_directory(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_sleeping_loop_is_woken),
        cmocka_unit_test(a_dozing_loop_is_left_to_it),
        cmocka_unit_test(first_means_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
