/* Makes a disk give way under a program: loaded before libc, it lets the n-th call of a kind on certain paths fail.
 *
 *   SHIM_PATH   only paths that contain this
 *   SHIM_CALL   "fsync", "write" or "name" (open for creating, link, rename, mkdir)
 *   SHIM_AT     which call fails first, from 1
 *   SHIM_COUNT  how many fail from there
 *   SHIM_ERRNO  with what
 *   SHIM_STRUCK a file that is made when the first one fails
 *   SHIM_WHILE  only while this file exists
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static long seen;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static int strikes(const char *call, const char *path) {
    const char *wanted = getenv("SHIM_CALL"), *part = getenv("SHIM_PATH");
    if (!wanted || !part || strcmp(wanted, call) != 0 || !strstr(path, part))
        return 0;
    const char *meanwhile = getenv("SHIM_WHILE");
    if (meanwhile && access(meanwhile, F_OK) != 0)
        return 0;
    long n = __atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST), at = number("SHIM_AT", 1);
    if (n < at || n >= at + number("SHIM_COUNT", 1))
        return 0;
    const char *mark = getenv("SHIM_STRUCK");
    if (mark) {
        int fd = REAL(open)(mark, O_CREAT | O_WRONLY, 0644);
        if (fd >= 0)
            close(fd);
    }
    errno = (int)number("SHIM_ERRNO", EIO);
    return 1;
}

static int strikes_fd(const char *call, int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strikes(call, path);
}

int fsync(int fd) { return strikes_fd("fsync", fd) ? -1 : REAL(fsync)(fd); }
int fdatasync(int fd) { return strikes_fd("fsync", fd) ? -1 : REAL(fdatasync)(fd); }

ssize_t write(int fd, const void *from, size_t n) {
    return strikes_fd("write", fd) ? -1 : REAL(write)(fd, from, n);
}
ssize_t writev(int fd, const struct iovec *from, int n) {
    return strikes_fd("write", fd) ? -1 : REAL(writev)(fd, from, n);
}
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) {
    return strikes_fd("write", fd) ? -1 : REAL(pwrite)(fd, from, n, at);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
    return strikes_fd("write", fd) ? -1 : REAL(pwrite64)(fd, from, n, at);
}

int rename(const char *from, const char *to) { return strikes("name", to) ? -1 : REAL(rename)(from, to); }
int link(const char *from, const char *to) { return strikes("name", to) ? -1 : REAL(link)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) {
    return strikes("name", to) ? -1 : REAL(linkat)(a, from, b, to, flags);
}
int mkdir(const char *path, mode_t mode) { return strikes("name", path) ? -1 : REAL(mkdir)(path, mode); }

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return flags & O_CREAT && strikes("name", path) ? -1 : REAL(open)(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;
    va_end(more);
    return flags & O_CREAT && strikes("name", path) ? -1 : REAL(open64)(path, flags, mode);
}
