/* Runs the scripts of tests/integration/node with the pinned node-redis client against a server. tsan: skip */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "integration/lib/server.h"

static void test_vectors(void **state)
{
    (void)state;
    if (system("node --version >/dev/null 2>&1") != 0) {
        print_message("node is not installed\n");
        skip();
    }
    struct test_server *s = server_start(NULL);
    char command[256];
    snprintf(command, sizeof command, "node tests/integration/node/vectors.mjs %d", server_port(s));
    int status = system(command);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    server_stop(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_vectors) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
