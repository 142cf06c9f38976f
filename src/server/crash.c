#include "server/crash.h"

#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/log.h"
#include "base/version.h"
#include "persist/region_fault.h"
#include "server/client.h"

#define FRAMES_MAX 64
#define STACK_SIZE ((size_t)64 * 1024)

static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

/* Read by the handler: the one piece of state it cannot be handed. */
static const struct server *_Atomic reported;
static atomic_flag busy = ATOMIC_FLAG_INIT;
static char alternate[STACK_SIZE];

static void put(const char *text)
{
    (void)!write(log_fd(), text, strlen(text));
}

static void put_hex(const char *label, unsigned long long value)
{
    char out[24];
    int at = sizeof(out) - 1;
    out[at] = 0;
    do {
        out[--at] = "0123456789abcdef"[value & 15];
        value >>= 4;
    } while (value);
    put(label);
    put("0x");
    put(out + at);
}

static void put_number(const char *label, unsigned long long value)
{
    char out[24];
    int at = sizeof(out) - 1;
    out[at] = 0;
    do {
        out[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put(label);
    put(out + at);
}

static const char *signal_name(int signum)
{
    switch (signum) {
    case SIGSEGV: return "SIGSEGV";
    case SIGBUS: return "SIGBUS";
    case SIGFPE: return "SIGFPE";
    case SIGILL: return "SIGILL";
    default: return "SIGABRT";
    }
}

static void put_registers(const ucontext_t *u)
{
#if defined(__x86_64__)
    static const struct {
        const char *label;
        int reg;
    } all[] = {
        {"\nRIP ", REG_RIP}, {" RSP ", REG_RSP}, {" RBP ", REG_RBP}, {" EFL ", REG_EFL},
        {"\nRAX ", REG_RAX}, {" RBX ", REG_RBX}, {" RCX ", REG_RCX}, {" RDX ", REG_RDX},
        {"\nRSI ", REG_RSI}, {" RDI ", REG_RDI}, {" R8 ", REG_R8},   {" R9 ", REG_R9},
        {"\nR10 ", REG_R10}, {" R11 ", REG_R11}, {" R12 ", REG_R12}, {" R13 ", REG_R13},
        {"\nR14 ", REG_R14}, {" R15 ", REG_R15},
    };
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        put_hex(all[i].label, (unsigned long long)u->uc_mcontext.gregs[all[i].reg]);
    put("\n");
#elif defined(__aarch64__)
    put_hex("\nPC ", u->uc_mcontext.pc);
    put_hex(" SP ", u->uc_mcontext.sp);
    put_hex(" PSTATE ", u->uc_mcontext.pstate);
    for (int i = 0; i < 31; i++) {
        put_number(i % 4 == 0 ? "\nX" : " X", (unsigned long long)i);
        put_hex(" ", u->uc_mcontext.regs[i]);
    }
    put("\n");
#else
    (void)u;
#endif
}

static void put_state(void)
{
    const struct server *s = atomic_load(&reported);
    if (!s)
        return;
    put("run_id ");
    put(s->run_id);
    put_number("\nclients ", s->clients->n);
    put_number("\npending replies ", s->pending);
    put("\ncommand under way on the loop: ");
    put(s->running ? s->running->name : "none");
    put("\n");
}

static void on_crash(int signum, siginfo_t *info, void *context)
{
    if (signum == SIGBUS && region_fault_handle(info->si_addr))
        return;
    if (atomic_flag_test_and_set(&busy)) {
        /* Another thread is reporting, or the report itself crashed. */
        signal(signum, SIG_DFL);
        raise(signum);
        return;
    }
    put("\n\n=== VECSTORE CRASH REPORT ===\nvecstore_version ");
    put(version_text());
    put(" commit ");
    put(version_commit());
    put_number("\npid ", (unsigned long long)getpid());
    put_number(" thread ", (unsigned long long)gettid());
    put("\ncrashed by signal ");
    put(signal_name(signum));
    put_number(" (", (unsigned long long)signum);
    put_number("), code ", (unsigned long long)(unsigned)info->si_code);
    if (signum != SIGABRT)
        put_hex("\naccessing address ", (unsigned long long)(uintptr_t)info->si_addr);
    put("\n");
    put_state();
    put("--- registers");
    put_registers(context);
    put("--- stack (resolve with addr2line -e <program> -f <address>)\n");
    void *frames[FRAMES_MAX];
    int n = backtrace(frames, FRAMES_MAX);
    backtrace_symbols_fd(frames, n, log_fd());
    put("=== END OF CRASH REPORT ===\n");
    signal(signum, SIG_DFL);
    raise(signum);
}

/* Without reports: a page that a mapped file cannot give is still no crash. */
static void on_bus(int signum, siginfo_t *info, void *context)
{
    (void)context;
    if (region_fault_handle(info->si_addr))
        return;
    signal(signum, SIG_DFL);
    raise(signum);
}

void crash_install(bool on, const struct server *s)
{
    atomic_store(&reported, s);
    struct sigaction action = {.sa_flags = SA_ONSTACK | SA_SIGINFO | SA_NODEFER};
    sigemptyset(&action.sa_mask);
    if (on) {
        /* backtrace() loads a library at its first call, which a signal handler must not do. */
        void *frame[1];
        backtrace(frame, 1);
        stack_t stack = {.ss_sp = alternate, .ss_size = sizeof(alternate)};
        sigaltstack(&stack, NULL);
        action.sa_sigaction = on_crash;
    } else {
        action.sa_flags = 0;
        action.sa_handler = SIG_DFL;
    }
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        sigaction(signals[i], &action, NULL);
    if (!on) {
        action.sa_flags = SA_SIGINFO | SA_NODEFER;
        action.sa_sigaction = on_bus;
        sigaction(SIGBUS, &action, NULL);
    }
}
