/* Loaded before the C library: time goes slower for a program that is slowed down by being watched, so that it finds
 * its own steps as short as they are when nobody watches. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SLOWER = 10000 };

static long long nanos(const struct timespec *time)
{
    return time->tv_sec * 1000000000LL + time->tv_nsec;
}

static struct timespec spec(long long nanos)
{
    struct timespec time = { nanos / 1000000000LL, nanos % 1000000000LL };
    return time;
}

static int is_slowed(clockid_t clock)
{
    return clock == CLOCK_MONOTONIC || clock == CLOCK_THREAD_CPUTIME_ID;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    long failed = syscall(SYS_clock_gettime, clock, time);
    if (failed == 0 && is_slowed(clock))
        *time = spec(nanos(time) / SLOWER);
    return failed == 0 ? 0 : -1;
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left)
{
    struct timespec longer = *wanted;
    if (is_slowed(clock))
        longer = spec(nanos(wanted) * SLOWER);
    return syscall(SYS_clock_nanosleep, clock, flags, &longer, left) == 0 ? 0 : errno;
}

int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    int error = clock_nanosleep(CLOCK_MONOTONIC, 0, wanted, left);
    if (error != 0)
        errno = error;
    return error == 0 ? 0 : -1;
}
