/* A disk that keeps no more than it must: loaded before the C library, begun by the process it is loaded into.

   Of a file it keeps what was in it at its last sync, of a folder the names that were in it at its own last sync, each in
   a file of its own in another folder; strict.py makes of them what is there after a power cut. POSIX promises no more.
   Most file systems keep more: on ext4 the sync of a new file makes its name durable too. */

#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[PATH_MAX], kept[PATH_MAX];
static size_t folder_size;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void must(int is_well, const char *what) {
    if (is_well) return;
    perror(what);
    abort();
}

/* Tells a file from others, also from those that had its number before it. */
static void name_of(int file, const char *path, char name[80]) {
    struct statx found;
    int flags = AT_SYMLINK_NOFOLLOW | (*path ? 0 : AT_EMPTY_PATH);
    must(statx(file, path, flags, STATX_INO | STATX_BTIME, &found) == 0, "statx");
    snprintf(name, 80, "%llu-%lld-%u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec, found.stx_btime.tv_nsec);
}

static int new_file(const char *name, char path[PATH_MAX]) {
    snprintf(path, PATH_MAX, "%.3000s/%.80s", kept, name);
    unlink(path);
    int copy = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    must(copy >= 0, path);
    return copy;
}

/* Reads through the same descriptor where it can: closing another one of a database would drop this process's locks. */
static void keep_content(int file, const char *name) {
    static char buffer[1 << 16];
    char path[PATH_MAX], link[64];
    int copy = new_file(name, path), source = file;
    if ((fcntl(file, F_GETFL) & O_ACCMODE) == O_WRONLY) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", file);
        source = open(link, O_RDONLY);
        must(source >= 0, link);
    }
    ssize_t size;
    for (off_t at = 0; (size = pread(source, buffer, sizeof buffer, at)) > 0; at += size)
        must(write(copy, buffer, (size_t)size) == size, path);
    must(size == 0, "pread");
    if (source != file) close(source);
    close(copy);
}

static void keep_names(int file, const char *name) {
    char path[PATH_MAX], link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    DIR *names = opendir(link);
    must(names != NULL, link);
    FILE *list = fdopen(new_file(name, path), "w");
    must(list != NULL, path);
    for (struct dirent *entry; (entry = readdir(names));) {
        char other[80];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        name_of(dirfd(names), entry->d_name, other);
        fprintf(list, "%s %c %s\n", other, entry->d_type == DT_DIR ? 'd' : 'f', entry->d_name);
    }
    must(fclose(list) == 0, path);
    closedir(names);
}

static void keep(int file) {
    struct stat found;
    char name[80];
    must(fstat(file, &found) == 0, "fstat");
    name_of(file, "", name);
    pthread_mutex_lock(&lock);
    if (S_ISDIR(found.st_mode)) keep_names(file, name);
    else keep_content(file, name);
    pthread_mutex_unlock(&lock);
}

static int keep_path(const char *path, const struct stat *found, int kind, struct FTW *place) {
    (void)found, (void)kind, (void)place;
    int file = open(path, O_RDONLY);
    must(file >= 0, path);
    keep(file);
    close(file);
    return 0;
}

/* From now on `path` is on a strict disk. What is there is durable; what is kept goes to `aside`. No file is open yet. */
void strict_begin(const char *path, const char *aside) {
    snprintf(kept, sizeof kept, "%s", aside);
    must(nftw(path, keep_path, 16, FTW_PHYS) == 0, path);
    int file = open(path, O_RDONLY);
    char name[80], link[PATH_MAX];
    must(file >= 0, path);
    name_of(file, "", name);
    close(file);
    snprintf(link, sizeof link, "%.3000s/root", aside);
    must(symlink(name, link) == 0, link);
    snprintf(folder, sizeof folder, "%s", path);
    folder_size = strlen(folder);
}

static int is_ours(int file) {
    char link[64], path[PATH_MAX];
    if (!folder_size) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return strncmp(path, folder, folder_size) == 0;
}

#define SYNCING(name)                                                                        \
    int name(int file) {                                                                     \
        if (!is_ours(file)) return ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(file);       \
        keep(file);                                                                          \
        return 0;                                                                            \
    }
SYNCING(fsync)
SYNCING(fdatasync)
