/* A file layer that fails on request, for `LD_PRELOAD`.

   It counts the file-system calls on paths below one folder and does something at the n-th: raises a
   signal, or fails that call or all from there on. Calls elsewhere pass. `fault_arm` sets what to do;
   until it is called, everything passes. `fault_journal` has changes and syncs written to a file, from
   which `power.py` computes what a disk would hold after a power failure. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { READS = 1, WRITES = 2, SYNCS = 4, CREATES = 8, CHANGES = 16 }; /* classes of calls */

static int armed, classes, signal_number, error_number, sticky, halves;
static long nth, clock_back;
static char root[PATH_MAX], backups[PATH_MAX];
static atomic_long events, counts[32], saved;
static int journal = -1;

#define REAL(name) ((__typeof__(&name))real(#name))
static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

void fault_arm(const char *folder, int which, long n, int sig, int error, int stays, int half, long back) {
    snprintf(root, sizeof root, "%s", folder);
    classes = which, nth = n, signal_number = sig, error_number = error, sticky = stays, halves = half;
    clock_back = back, atomic_store(&events, 0), armed = 1;
}

/* Calls of one class so far. */
long fault_count(int class) { return atomic_load(&counts[class]); }

void fault_journal(const char *file, const char *folder) {
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    snprintf(backups, sizeof backups, "%s", folder);
    journal = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900);
    syscall(SYS_close, fd);
}

/* Whether a call is to fail; otherwise it may proceed, after a signal if one is due. */
static int strikes(int class) {
    atomic_fetch_add(&counts[class], 1);
    if (!(class & classes)) return 0;
    long now = atomic_fetch_add(&events, 1) + 1;
    int due = nth > 0 && (now == nth || (sticky && now > nth));
    if (due && signal_number) kill(getpid(), signal_number);
    return due && error_number;
}

static int below(const char *path) {
    size_t length = strlen(root);
    return armed && strncmp(path, root, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static const char *name_of_fd(int fd, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, buffer, PATH_MAX - 1);
    buffer[length < 0 ? 0 : length] = 0;
    return buffer;
}

/* The absolute path of a call's argument. */
static const char *absolute(int folder, const char *path, char *buffer) {
    if (path[0] == '/') return path;
    char start[PATH_MAX];
    if (folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, start, sizeof start) < 0) start[0] = 0;
    } else {
        name_of_fd(folder, start);
    }
    if (snprintf(buffer, PATH_MAX, "%s/%s", start, path) >= PATH_MAX) buffer[0] = 0;
    return buffer;
}

static int fd_strikes(int fd, int class) {
    if (!armed || fd < 0) return 0;
    int before = errno, hit;
    char buffer[PATH_MAX];
    hit = below(name_of_fd(fd, buffer)) && strikes(class);
    errno = hit ? error_number : before;
    return hit;
}

static size_t shorter(int fd, size_t count) {
    char buffer[PATH_MAX];
    if (!armed || !halves || count < 2 || !below(name_of_fd(fd, buffer))) return count;
    return 1 + (count - 1) / 2;
}

/* ---- the journal: one line per change, fields separated by tabs ---- */

static void record(const char *format, ...) {
    char line[2 * PATH_MAX];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (syscall(SYS_write, journal, line, length) < 0) abort();
}

static unsigned long number_of(const char *path) {
    struct stat about;
    return fstatat(AT_FDCWD, path, &about, AT_SYMLINK_NOFOLLOW) ? 0 : about.st_ino;
}

static unsigned long folder_of(const char *path) {
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = 0;
    return number_of(folder);
}

static const char *last_name(const char *path) { return strrchr(path, '/') + 1; }

static void record_fd(char what, int fd) {
    int before = errno;
    char buffer[PATH_MAX];
    struct stat about;
    if (armed && journal >= 0 && below(name_of_fd(fd, buffer)) && fstat(fd, &about) == 0)
        record("%c\t%lu\t%ld\n", what, about.st_ino, (long)about.st_size);
    errno = before;
}

/* Keep a file that is about to be replaced or removed; its number, or 0. */
static long keep(const char *path) {
    char copy[PATH_MAX + 32];
    struct stat about;
    if (journal < 0 || fstatat(AT_FDCWD, path, &about, AT_SYMLINK_NOFOLLOW) || S_ISDIR(about.st_mode)) return 0;
    long number = atomic_fetch_add(&saved, 1) + 1;
    snprintf(copy, sizeof copy, "%s/%ld", backups, number);
    return syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, copy, 0) ? 0 : number;
}

/* ---- opening ---- */

static int opening(int folder, const char *path, int flags, mode_t mode) {
    char buffer[PATH_MAX];
    const char *full = armed ? absolute(folder, path, buffer) : path;
    if (!below(full)) return syscall(SYS_openat, folder, path, flags, mode);
    int changes = (flags & (O_CREAT | O_TRUNC)) || (flags & O_ACCMODE) != O_RDONLY;
    if (strikes(changes ? CREATES : READS)) return errno = error_number, -1;
    unsigned long before = changes && journal >= 0 ? number_of(full) : 1;
    int fd = syscall(SYS_openat, folder, path, flags, mode);
    if (fd >= 0 && journal >= 0 && !before)
        record("C\t%lu\t%s\t%lu\n", folder_of(full), last_name(full), number_of(full));
    else if (fd >= 0 && (flags & O_TRUNC))
        record_fd('W', fd);
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | __O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return opening(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int folder, const char *path, int flags, ...) { MODE(flags) return opening(folder, path, flags, mode); }
int openat64(int folder, const char *path, int flags, ...) { MODE(flags) return opening(folder, path, flags | O_LARGEFILE, mode); }

/* ---- reading and writing ---- */

#define WROTE(fd, call) \
    ssize_t done = call; \
    if (done > 0) record_fd('W', fd); \
    return done;

ssize_t read(int fd, void *data, size_t count) {
    if (fd_strikes(fd, READS)) return -1;
    return REAL(read)(fd, data, shorter(fd, count));
}
ssize_t pread(int fd, void *data, size_t count, off_t offset) {
    if (fd_strikes(fd, READS)) return -1;
    return REAL(pread)(fd, data, shorter(fd, count), offset);
}
ssize_t pread64(int fd, void *data, size_t count, off64_t offset) {
    if (fd_strikes(fd, READS)) return -1;
    return REAL(pread64)(fd, data, shorter(fd, count), offset);
}
ssize_t readv(int fd, const struct iovec *parts, int count) {
    if (fd_strikes(fd, READS)) return -1;
    return REAL(readv)(fd, parts, count);
}
ssize_t write(int fd, const void *data, size_t count) {
    if (fd_strikes(fd, WRITES)) return -1;
    WROTE(fd, REAL(write)(fd, data, shorter(fd, count)))
}
ssize_t pwrite(int fd, const void *data, size_t count, off_t offset) {
    if (fd_strikes(fd, WRITES)) return -1;
    WROTE(fd, REAL(pwrite)(fd, data, shorter(fd, count), offset))
}
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t offset) {
    if (fd_strikes(fd, WRITES)) return -1;
    WROTE(fd, REAL(pwrite64)(fd, data, shorter(fd, count), offset))
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    if (fd_strikes(fd, WRITES)) return -1;
    WROTE(fd, REAL(writev)(fd, parts, count))
}
ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
    if (fd_strikes(from, READS) || fd_strikes(to, WRITES)) return -1;
    WROTE(to, syscall(SYS_sendfile, to, from, offset, shorter(to, count)))
}
ssize_t sendfile64(int to, int from, off64_t *offset, size_t count) { return sendfile(to, from, offset, count); }
ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *end, size_t count, unsigned flags) {
    if (fd_strikes(from, READS) || fd_strikes(to, WRITES)) return -1;
    WROTE(to, syscall(SYS_copy_file_range, from, start, to, end, shorter(to, count), flags))
}
int ftruncate(int fd, off_t length) {
    if (fd_strikes(fd, WRITES)) return -1;
    int done = syscall(SYS_ftruncate, fd, length);
    record_fd('W', fd);
    return done;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }

static int syncing(int fd, int call) {
    if (fd_strikes(fd, SYNCS)) return -1;
    record_fd('S', fd); /* the disk itself need not be waited for */
    (void)call;
    return 0;
}
int fsync(int fd) { return armed ? syncing(fd, 0) : REAL(fsync)(fd); }
int fdatasync(int fd) { return armed ? syncing(fd, 1) : REAL(fdatasync)(fd); }

/* ---- names ---- */

static int renaming(int from, const char *old, int to, const char *new, unsigned flags) {
    char first[PATH_MAX], second[PATH_MAX];
    const char *a = armed ? absolute(from, old, first) : old, *b = armed ? absolute(to, new, second) : new;
    if (!below(b)) return syscall(SYS_renameat2, from, old, to, new, flags);
    if (strikes(CHANGES)) return errno = error_number, -1;
    long kept = keep(b);
    unsigned long number = journal >= 0 ? number_of(a) : 0;
    int done = syscall(SYS_renameat2, from, old, to, new, flags);
    if (done == 0 && journal >= 0)
        record("R\t%lu\t%s\t%lu\t%s\t%lu\t%ld\n", folder_of(a), last_name(a), folder_of(b), last_name(b), number, kept);
    return done;
}
int rename(const char *old, const char *new) { return renaming(AT_FDCWD, old, AT_FDCWD, new, 0); }
int renameat(int from, const char *old, int to, const char *new) { return renaming(from, old, to, new, 0); }

static int removing(int folder, const char *path, int flags) {
    char buffer[PATH_MAX];
    const char *full = armed ? absolute(folder, path, buffer) : path;
    if (!below(full)) return syscall(SYS_unlinkat, folder, path, flags);
    if (strikes(CHANGES)) return errno = error_number, -1;
    unsigned long number = journal >= 0 ? number_of(full) : 0;
    long kept = keep(full);
    int done = syscall(SYS_unlinkat, folder, path, flags);
    if (done == 0 && journal >= 0)
        record("%c\t%lu\t%s\t%lu\t%ld\n", flags & AT_REMOVEDIR ? 'X' : 'U', folder_of(full), last_name(full), number, kept);
    return done;
}
int unlink(const char *path) { return removing(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return removing(AT_FDCWD, path, AT_REMOVEDIR); }
int unlinkat(int folder, const char *path, int flags) { return removing(folder, path, flags); }

static int making(int folder, const char *path, mode_t mode) {
    char buffer[PATH_MAX];
    const char *full = armed ? absolute(folder, path, buffer) : path;
    if (!below(full)) return syscall(SYS_mkdirat, folder, path, mode);
    /* What exists is said before what cannot be created. */
    if (classes & CREATES && syscall(SYS_faccessat, folder, path, F_OK) == 0) return errno = EEXIST, -1;
    if (strikes(CREATES)) return errno = error_number, -1;
    int done = syscall(SYS_mkdirat, folder, path, mode);
    if (done == 0 && journal >= 0) record("C\t%lu\t%s\t%lu\n", folder_of(full), last_name(full), number_of(full));
    return done;
}
int mkdir(const char *path, mode_t mode) { return making(AT_FDCWD, path, mode); }
int mkdirat(int folder, const char *path, mode_t mode) { return making(folder, path, mode); }

/* ---- time ---- */

/* Seconds to take off: nothing until the n-th event. */
static long earlier(void) { return armed && clock_back && atomic_load(&events) >= nth ? clock_back : 0; }

int clock_gettime(clockid_t clock, struct timespec *now) {
    int done = REAL(clock_gettime)(clock, now);
    if (done == 0 && clock == CLOCK_REALTIME) now->tv_sec -= earlier();
    return done;
}
int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int done = REAL(gettimeofday)(now, zone);
    if (done == 0) now->tv_sec -= earlier();
    return done;
}
time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
