/*
 * A wall clock that can be set for one process: loaded before its C library's, it adds to CLOCK_REALTIME the microseconds that the first
 * eight bytes of the file UNDER_FIRE_CLOCK hold. Monotonic clocks are the machine's, as they are when a real clock is set.
 *
 * A wait until a wall clock time is turned into the machine's time when it begins: unlike the kernel's, one that is under way when the clock is
 * set ends when it would have ended without that. Linux and glibc only.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *ahead_micros;

__attribute__((constructor)) static void open_clock(void) {
    const char *path = getenv("UNDER_FIRE_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) _exit(97);
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) _exit(97);
    close(file);
    ahead_micros = page;
}

static void add(struct timespec *at, int64_t micros) {
    int64_t nanos = at->tv_nsec + micros % 1000000 * 1000;
    at->tv_sec += micros / 1000000 + (nanos >= 1000000000) - (nanos < 0);
    at->tv_nsec = nanos + (nanos < 0 ? 1000000000 : 0) - (nanos >= 1000000000 ? 1000000000 : 0);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    long failed = syscall(SYS_clock_gettime, clock, at);
    if (!failed && ahead_micros && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) add(at, *ahead_micros);
    return failed ? -1 : 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &now)) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

int timespec_get(struct timespec *at, int base) {
    return base == TIME_UTC && !clock_gettime(CLOCK_REALTIME, at) ? base : 0;
}

/* Conditions of another clock than the wall's are not made by what is tested here (pthread_condattr_setclock). */
int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict lock, const struct timespec *restrict until) {
    static int (*wait_of_libc)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (!wait_of_libc) *(void **)&wait_of_libc = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!wait_of_libc) *(void **)&wait_of_libc = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    struct timespec real = *until;
    add(&real, -*ahead_micros);
    return wait_of_libc(condition, lock, &real);
}

/* librdkafka waits by this one, which in the C library does not pass through the one above. */
int cnd_timedwait(cnd_t *restrict condition, mtx_t *restrict lock, const struct timespec *restrict until) {
    static int (*wait_of_libc)(cnd_t *, mtx_t *, const struct timespec *);
    if (!wait_of_libc) *(void **)&wait_of_libc = dlsym(RTLD_NEXT, "cnd_timedwait");
    struct timespec real = *until;
    add(&real, -*ahead_micros);
    return wait_of_libc(condition, lock, &real);
}
