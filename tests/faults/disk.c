/* A disk that fails once, or from some moment on: loaded before the C library, armed by the process it is loaded into.

   Calls that change the files below one folder are counted by kind. The n-th one fails in a chosen way; nothing else is
   changed, except that syncs are not passed on: what they are worth shows in a power cut, and here they only cost time. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum call { WRITE, SYNC, TRUNCATE, OPEN, REMOVE, RENAME, MAKE_FOLDER, CALLS };

static char folder[PATH_MAX];
static size_t folder_size;
static atomic_int failing_call = -1;
static atomic_long failing_from, failing_until;
static atomic_int error_number;
static atomic_int is_partial; /* a write does half of its work first; with error 0 it says so, as a short write does */
static atomic_long seen[CALLS];
static atomic_long failed;

void disk_watch(const char *path) {
    snprintf(folder, sizeof folder, "%s", path);
    folder_size = strlen(folder);
}

/* Let the calls number `from` to `until` - 1 of a kind fail, counted from 1 and from now on. */
void disk_fail(int call, long from, long until, int error, int partial) {
    for (int each = 0; each < CALLS; each++) seen[each] = 0;
    failed = 0;
    failing_from = from;
    failing_until = until;
    error_number = error;
    is_partial = partial;
    failing_call = call;
}

/* Let nothing fail any more; how many calls have. */
long disk_heal(void) {
    failing_call = -1;
    return failed;
}

static int is_below(const char *path) {
    return folder_size && strncmp(path, folder, folder_size) == 0;
}

static int is_file_below(int file) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return is_below(path);
}

static int is_name_below(int directory, const char *path) {
    return path[0] == '/' || directory == AT_FDCWD ? is_below(path) : is_file_below(directory);
}

static int fails(enum call call) {
    if (failing_call != (int)call) return 0;
    long number = ++seen[call];
    if (number < failing_from || number >= failing_until) return 0;
    failed++;
    return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OR_FAIL(is_ours, call)        \
    if ((is_ours) && fails(call)) {   \
        errno = error_number;         \
        return -1;                    \
    }

/* What a write that fails comes to: half of it is done, and the rest is an error or is left to the caller. */
static ssize_t half(ssize_t done) {
    if (done < 0 || error_number == 0) return done;
    errno = error_number;
    return -1;
}

ssize_t write(int file, const void *data, size_t size) {
    if (failing_call == WRITE && is_file_below(file) && fails(WRITE)) {
        if (is_partial && size > 1) return half(REAL(write)(file, data, size / 2));
        if (error_number) { errno = error_number; return -1; }
    }
    return REAL(write)(file, data, size);
}

static ssize_t write_at(int file, const void *data, size_t size, off_t position) {
    if (failing_call == WRITE && is_file_below(file) && fails(WRITE)) {
        if (is_partial && size > 1) return half(REAL(pwrite)(file, data, size / 2, position));
        if (error_number) { errno = error_number; return -1; }
    }
    return REAL(pwrite)(file, data, size, position);
}
ssize_t pwrite(int file, const void *data, size_t size, off_t position) { return write_at(file, data, size, position); }
ssize_t pwrite64(int file, const void *data, size_t size, off_t position) { return write_at(file, data, size, position); }

int fsync(int file) {
    if (!is_file_below(file)) return REAL(fsync)(file);
    OR_FAIL(1, SYNC)
    return 0;
}
int fdatasync(int file) {
    if (!is_file_below(file)) return REAL(fdatasync)(file);
    OR_FAIL(1, SYNC)
    return 0;
}

int ftruncate(int file, off_t size) {
    OR_FAIL(failing_call == TRUNCATE && is_file_below(file), TRUNCATE)
    return REAL(ftruncate)(file, size);
}
int ftruncate64(int file, off_t size) {
    OR_FAIL(failing_call == TRUNCATE && is_file_below(file), TRUNCATE)
    return REAL(ftruncate)(file, size);
}

static mode_t mode_of(int flags, va_list rest) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}
#define OPENING(name)                                        \
    int name(const char *path, int flags, ...) {             \
        va_list rest;                                        \
        va_start(rest, flags);                               \
        mode_t mode = mode_of(flags, rest);                  \
        va_end(rest);                                        \
        OR_FAIL(is_below(path), OPEN)                        \
        return REAL(openat)(AT_FDCWD, path, flags, mode);    \
    }
#define OPENING_AT(name)                                     \
    int name(int directory, const char *path, int flags, ...) { \
        va_list rest;                                        \
        va_start(rest, flags);                               \
        mode_t mode = mode_of(flags, rest);                  \
        va_end(rest);                                        \
        OR_FAIL(is_name_below(directory, path), OPEN)        \
        return REAL(openat)(directory, path, flags, mode);   \
    }
OPENING(open)
OPENING(open64)
OPENING_AT(openat)
OPENING_AT(openat64)

int unlink(const char *path) {
    OR_FAIL(is_below(path), REMOVE)
    return REAL(unlink)(path);
}
int unlinkat(int directory, const char *path, int flags) {
    OR_FAIL(is_name_below(directory, path), REMOVE)
    return REAL(unlinkat)(directory, path, flags);
}
int rmdir(const char *path) {
    OR_FAIL(is_below(path), REMOVE)
    return REAL(rmdir)(path);
}

int rename(const char *path, const char *target) {
    OR_FAIL(is_below(target), RENAME)
    return REAL(rename)(path, target);
}

int mkdir(const char *path, mode_t mode) {
    OR_FAIL(is_below(path), MAKE_FOLDER)
    return REAL(mkdir)(path, mode);
}
