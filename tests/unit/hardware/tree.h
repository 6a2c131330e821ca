/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of small files that stands for /sys or /proc in a test: made in a
 * temporary directory, removed with it. */
#ifndef TESTS_UNIT_HARDWARE_TREE_H
#define TESTS_UNIT_HARDWARE_TREE_H

#include <assert.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree {
    char path[64];
    int dirfd;
};

static inline void
tree_make(struct tree *tree)
{
    strcpy(tree->path, "/tmp/mbroker-test-XXXXXX");
    char *made = mkdtemp(tree->path);
    assert(made);
    int error = chmod(tree->path, 0755);
    assert(!error);
    tree->dirfd = open(tree->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert(tree->dirfd >= 0);
}

static inline int
tree_remove_one(const char *path, const struct stat *st, int flag,
                struct FTW *ftw)
{
    (void)st, (void)flag, (void)ftw;
    return remove(path);
}

static inline void
tree_remove(struct tree *tree)
{
    close(tree->dirfd);
    nftw(tree->path, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Writes a file, making the directories above it. */
__attribute__((format(printf, 3, 4))) static inline void
tree_put(struct tree *tree, const char *path, const char *format, ...)
{
    char part[256];
    va_list args;

    for (const char *slash = strchr(path, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        mkdirat(tree->dirfd, part, 0755);
    }
    int fd = openat(tree->dirfd, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert(fd >= 0);
    va_start(args, format);
    int put = vdprintf(fd, format, args);
    va_end(args);
    assert(put >= 0);
    close(fd);
}

/* A file's text, without the newline; valid until the next call. */
static inline const char *
tree_get(struct tree *tree, const char *path)
{
    static char text[4096];

    int fd = openat(tree->dirfd, path, O_RDONLY);
    if (fd < 0) {
        return "(absent)";
    }
    ssize_t got = read(fd, text, sizeof text - 1);
    close(fd);
    assert(got >= 0);
    text[got] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return text;
}

static inline void
tree_drop(struct tree *tree, const char *path)
{
    char full[512];

    snprintf(full, sizeof full, "%s/%s", tree->path, path);
    nftw(full, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
