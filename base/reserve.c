/* SPDX-License-Identifier: Apache-2.0 */
/* Keeps memory at hand: it is taken from the system in one piece and given back
 * to the C library, which is told to keep what it has and to serve all from
 * that.  So there is no memory, which can be said in words, or there is enough.
 *
 * It holds for a process's first thread and with glibc's allocator, whose
 * settings it changes meanwhile; with others, as sanitizers bring, nothing is
 * kept.  Relies on mallopt(3); called by confscan.c around libconfig,
 * loop.c
 * around libuv, wire/jsonread.c around jansson and broker/sandbox/calls.c
 * around libseccomp. */
#include "base/reserve.h"

#include <limits.h>
#include <malloc.h>
#include <stdlib.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define HAS_RESERVE 0
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAS_RESERVE 0
#endif
#endif
#if !defined HAS_RESERVE && defined __GLIBC__
#define HAS_RESERVE 1
#elif !defined HAS_RESERVE
#define HAS_RESERVE 0
#endif

/* As glibc begins. */
#define MMAP_MAX 65536
#define TRIM_THRESHOLD (128 << 10)

bool
reserve_begin(size_t size)
{
#if HAS_RESERVE
    mallopt(M_TRIM_THRESHOLD, INT_MAX);
    mallopt(M_MMAP_MAX, 0);
    void *reserve = malloc(size);
    bool has = reserve;
    /* The compiler may not think that it is of no use. */
    __asm__ volatile("" : : "r"(reserve) : "memory");
    free(reserve);
    return has;
#else
    (void)size;
    return true;
#endif
}

void
reserve_end(void)
{
#if HAS_RESERVE
    mallopt(M_MMAP_MAX, MMAP_MAX);
    mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD);
#endif
}
