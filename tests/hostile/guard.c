/* SPDX-License-Identifier: Apache-2.0 */
/* Puts a page that nobody may touch before and behind everything that is mapped
 * from a file, since a sanitizer does not know where shared memory ends and the
 * next mapping may begin right there.  Linked with -Wl,--wrap= of the
 * three; which of the two mmap() is depends on the C library's headers. */
#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <unistd.h>

void *__real_mmap(void *, size_t, int, int, int, off_t);
int __real_munmap(void *, size_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap64(void *, size_t, int, int, int, off_t);
int __wrap_munmap(void *, size_t);

#define GUARD 4096u

static size_t
whole_pages(size_t size)
{
    return (size + GUARD - 1) & ~(size_t)(GUARD - 1);
}

void *
__wrap_mmap(void *at, size_t size, int protection, int flags, int fd,
            off_t offset)
{
    if (at || fd < 0 || !size) {
        return __real_mmap(at, size, protection, flags, fd, offset);
    }
    size_t whole = whole_pages(size) + (size_t)2 * GUARD;
    char *guarded =
        __real_mmap(NULL, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guarded == MAP_FAILED) {
        return MAP_FAILED;
    }
    void *inner = __real_mmap(guarded + GUARD, size, protection,
                              flags | MAP_FIXED, fd, offset);
    if (inner == MAP_FAILED) {
        __real_munmap(guarded, whole);
    }
    return inner;
}

void *
__wrap_mmap64(void *at, size_t size, int protection, int flags, int fd,
              off_t offset)
{
    return __wrap_mmap(at, size, protection, flags, fd, offset);
}

/* What is unmapped here was mapped from a file, and whole. */
int
__wrap_munmap(void *at, size_t size)
{
    return __real_munmap((char *)at - GUARD,
                         whole_pages(size) + (size_t)2 * GUARD);
}
