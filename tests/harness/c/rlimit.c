// Preloaded into a runtime that gives up when it may not raise a resource
// limit (crun 1.8 raises RLIMIT_MEMLOCK before it loads a BPF program, and
// needs CAP_SYS_RESOURCE for that): the call is made all the same, only its
// EPERM is not told.
#define _GNU_SOURCE
#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int limit(pid_t pid, int which, const void *new, void *old)
{
	long r = syscall(SYS_prlimit64, pid, which, new, old);
	return r < 0 && errno == EPERM ? 0 : (int)r;
}

int setrlimit(__rlimit_resource_t which, const struct rlimit *l) { return limit(0, which, l, 0); }
int setrlimit64(__rlimit_resource_t which, const struct rlimit64 *l) { return limit(0, which, l, 0); }
int prlimit(pid_t pid, enum __rlimit_resource which, const struct rlimit *n, struct rlimit *o) { return limit(pid, which, n, o); }
int prlimit64(pid_t pid, enum __rlimit_resource which, const struct rlimit64 *n, struct rlimit64 *o) { return limit(pid, which, n, o); }
