/* A disk with neither modes nor links, as vfat and exFAT are: loaded before the C library. */

#define _GNU_SOURCE
#include <errno.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int refuse(int error) {
    errno = error;
    return -1;
}

int chmod(const char *path, mode_t mode) { return (void)path, (void)mode, refuse(EPERM); }
int fchmod(int file, mode_t mode) { return (void)file, (void)mode, refuse(EPERM); }
int fchmodat(int folder, const char *path, mode_t mode, int flags) {
    return (void)folder, (void)path, (void)mode, (void)flags, refuse(EPERM);
}

int link(const char *path, const char *other) { return (void)path, (void)other, refuse(EPERM); }
int linkat(int folder, const char *path, int to, const char *other, int flags) {
    return (void)folder, (void)path, (void)to, (void)other, (void)flags, refuse(EPERM);
}

int symlink(const char *path, const char *other) { return (void)path, (void)other, refuse(EPERM); }

int renameat2(int folder, const char *path, int to, const char *other, unsigned flags) {
    return (void)folder, (void)path, (void)to, (void)other, (void)flags, refuse(EINVAL);
}
