/*
 * Preloaded into a redis-server of a test: the time of day is what the file CLOCK_FILE says, eight bytes that the test
 * writes while the server runs. Below 2^50 it is an offset in microseconds from the machine's clock, which goes on; above
 * it, a time of day at which the clock stands still. The monotonic clock is left alone.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define STANDS_STILL ((int64_t)1 << 50)

static volatile int64_t *setting;

__attribute__((constructor)) static void map_setting(void) {
  const char *path = getenv("CLOCK_FILE");
  int file = path ? open(path, O_RDONLY) : -1;
  if (file < 0) abort();
  void *mapped = mmap(NULL, sizeof *setting, PROT_READ, MAP_SHARED, file, 0);
  close(file);
  if (mapped == MAP_FAILED) abort();
  setting = mapped;
}

static int64_t now_us(void) {
  struct timespec real;
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &real);
  int64_t set = setting ? *setting : 0;
  return set >= STANDS_STILL ? set : (int64_t)real.tv_sec * 1000000 + real.tv_nsec / 1000 + set;
}

int gettimeofday(struct timeval *time, void *zone) {
  (void)zone;
  int64_t us = now_us();
  time->tv_sec = us / 1000000;
  time->tv_usec = us % 1000000;
  return 0;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  if (clock != CLOCK_REALTIME) return (int)syscall(SYS_clock_gettime, clock, time);
  int64_t us = now_us();
  time->tv_sec = us / 1000000;
  time->tv_nsec = us % 1000000 * 1000;
  return 0;
}

time_t time(time_t *seconds) {
  time_t now = now_us() / 1000000;
  if (seconds) *seconds = now;
  return now;
}
