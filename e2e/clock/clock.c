/*
 * Loaded before a program (LD_PRELOAD), this holds its clock: the wall clock, and the one that counts since the start
 * of the machine. What both show is said by the file that BASCULE_CLOCK names, which all programs of a site share, so
 * that they agree as programs on one machine do; it may change while they run.
 *
 * Only the clocks are held, and what waits for a moment on them. A relative wait is the kernel's own: it is wrong by the
 * rate, as any wait on a busy machine is late.
 *
 * Every change is a new entry of the file, and its number is written last: a reader meets the old or the new one, never
 * half of one, takes no lock and may be a signal handler.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
#define ENTRIES 1024

enum { WALL, MONOTONIC, BOOT, KINDS, NONE = -1 };

/* 64 bytes; nanoseconds, and the rate in billionths that are gained. */
struct change {
    int64_t step;         /* the wall clock alone */
    int64_t ahead;        /* every clock, at `since` */
    int64_t rate;         /* every clock, from `since` on */
    int64_t since[KINDS]; /* the moment of the change on each true clock */
    int64_t free[2];
};

/* The number of the entry in force lies where entry 0 would. */
union file {
    uint64_t number;
    struct change entries[ENTRIES];
};

static const union file *held;
static int (*true_gettime)(clockid_t, struct timespec *);
static int (*true_timerfd_create)(int, int);
static int (*true_timerfd_settime)(int, int, const struct itimerspec *, struct itimerspec *);
static long (*true_syscall)(long, ...);
static signed char timers[4096];

static void give_up(const char *why) {
    dprintf(2, "clock.so: %s\n", why);
    _exit(112);
}

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) give_up(name);
    return found;
}

__attribute__((constructor)) static void begin(void) {
    if (true_gettime) return;
    true_timerfd_create = next("timerfd_create");
    true_timerfd_settime = next("timerfd_settime");
    true_syscall = next("syscall");
    const char *path = getenv("BASCULE_CLOCK");
    if (path) {
        int file = open(path, O_RDONLY | O_CLOEXEC);
        void *at = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *held, PROT_READ, MAP_SHARED, file, 0);
        if (at == MAP_FAILED) give_up("the file that BASCULE_CLOCK names cannot be mapped");
        close(file);
        held = at;
    }
    true_gettime = next("clock_gettime");
}

static int kind(clockid_t clock) {
    switch (clock) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return WALL;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
        return MONOTONIC;
    case CLOCK_BOOTTIME:
        return BOOT;
    default:
        return NONE; /* what a process has used, and clocks that nobody here asks for */
    }
}

static const struct change *now_in_force(void) {
    uint64_t number = __atomic_load_n(&held->number, __ATOMIC_ACQUIRE);
    return number && number < ENTRIES ? &held->entries[number] : NULL;
}

static int64_t nanos(const struct timespec *t) { return t->tv_sec * SECOND + t->tv_nsec; }

static struct timespec timespec_of(int64_t n) {
    if (n < 0) n = 0;
    return (struct timespec){.tv_sec = n / SECOND, .tv_nsec = n % SECOND};
}

static int64_t shown(const struct change *c, int kind, int64_t t) {
    int64_t gained = (int64_t)((__int128)(t - c->since[kind]) * c->rate / SECOND);
    return t + c->ahead + gained + (kind == WALL ? c->step : 0);
}

/* The true moment at which a clock shows `t`. */
static int64_t meant(const struct change *c, int kind, int64_t t) {
    int64_t since = t - c->ahead - (kind == WALL ? c->step : 0) - c->since[kind];
    return c->since[kind] + (int64_t)((__int128)since * SECOND / (SECOND + c->rate));
}

int clock_gettime(clockid_t clock, struct timespec *t) {
    begin();
    int k = held ? kind(clock) : NONE, result = true_gettime(clock, t);
    const struct change *c = k == NONE || result ? NULL : now_in_force();
    if (c) *t = timespec_of(shown(c, k, nanos(t)));
    return result;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    (void)zone;
    struct timespec now;
    int result = clock_gettime(CLOCK_REALTIME, &now);
    if (!result) *t = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return result;
}

time_t time(time_t *t) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

int timerfd_create(int clock, int flags) {
    begin();
    int timer = true_timerfd_create(clock, flags);
    if (timer >= (int)sizeof timers) give_up("a timer whose descriptor has too high a number");
    if (timer >= 0) timers[timer] = (signed char)kind(clock);
    return timer;
}

int timerfd_settime(int timer, int flags, const struct itimerspec *new, struct itimerspec *old) {
    begin();
    const struct change *c = held && new && (flags & TFD_TIMER_ABSTIME) ? now_in_force() : NULL;
    int64_t at = c ? nanos(&new->it_value) : 0;
    int k = timer < 0 || timer >= (int)sizeof timers ? NONE : timers[timer];
    if (!at || k == NONE) return true_timerfd_settime(timer, flags, new, old);
    int64_t true_at = meant(c, k, at);
    /* Zero would take the timer away; a moment that has passed fires it. */
    struct itimerspec mapped = {new->it_interval, timespec_of(true_at > 0 ? true_at : 1)};
    return true_timerfd_settime(timer, flags, &mapped, old);
}

/* The standard library of Rust waits by futexes, until a moment of the monotonic clock. */
long syscall(long number, ...) {
    begin();
    va_list list;
    va_start(list, number);
    long a = va_arg(list, long), b = va_arg(list, long), c = va_arg(list, long);
    long d = va_arg(list, long), e = va_arg(list, long), f = va_arg(list, long);
    va_end(list);
    struct timespec until;
    if (number == SYS_futex && d && (b & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && !(b & FUTEX_CLOCK_REALTIME)) {
        const struct change *held_now = held ? now_in_force() : NULL;
        if (held_now) {
            until = timespec_of(meant(held_now, MONOTONIC, nanos((const struct timespec *)d)));
            d = (long)&until;
        }
    }
    return true_syscall(number, a, b, c, d, e, f);
}
