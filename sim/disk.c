/* SPDX-License-Identifier: Apache-2.0 */
/* A layer of SQLite's own kind (a VFS) over the real one: the journal's file
 * and its log are real files in a directory made for the run, in memory where
 * the machine has such a place, so that a broker that dies leaves just what it
 * had written, and the next one finds it.  If the disk's power goes some of
 * what was not synced is lost; the mark beside the journal is no file of
 * SQLite's, and msim is linked so that its fdatasync() comes by here.  Called
 * by world.c and fault*.c.
 *
 * XXX That a file was made, moved or removed lasts at once; directories that
 * are not synced are not found. */
#include "sim/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/prng.h"
#include "sim/unsynced.h"

/* The journal's files that can lose something. */
enum {
    DISK_JOURNAL,
    DISK_LOG,
    DISK_HEAD,
    DISK_N_FILES,
};

struct disk {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    enum disk_fault fault;
    bool (*point)(void *ctx, const char *where);
    void *ctx;
    uint64_t n_syncs;
    int saved_dirfd;
    char dir[DISK_PATH_SIZE];
    char journal[DISK_PATH_SIZE + 16];
    char saved[DISK_PATH_SIZE + 16];
    struct disk_unsynced {
        int fd; /* -1: it is not there. */
        ino_t inode;
        struct unsynced unsynced;
    } files[DISK_N_FILES];
};

static const char *const suffixes[DISK_N_FILES] = {"", "-wal", ".head"};

/* Whose sync fdatasync() asks for; there is one at a time. */
static struct disk *the_disk;

/* What SQLite has of one of its files; the real one lies behind it. */
struct disk_file {
    sqlite3_file file;
    struct disk *disk;
    struct disk_unsynced *kept; /* Null: what it loses is nobody's matter. */
};

static sqlite3_file *
real_of(sqlite3_file *file)
{
    return (sqlite3_file *)(void *)((struct disk_file *)(void *)file + 1);
}

static struct disk *
disk_of(sqlite3_file *file)
{
    return ((struct disk_file *)(void *)file)->disk;
}

static struct disk_unsynced *
kept_of(sqlite3_file *file)
{
    return ((struct disk_file *)(void *)file)->kept;
}

static void
forget_file(struct disk_unsynced *kept)
{
    if (kept->fd >= 0) {
        close(kept->fd);
    }
    unsynced_fini(&kept->unsynced);
    *kept = (struct disk_unsynced){.fd = -1};
}

/* Follows what lies at the journal's path; what was put there since is new, and
 * lasts as it is if it has anything in it. */
static struct disk_unsynced *
follow_file(struct disk *disk, unsigned which)
{
    struct disk_unsynced *kept = &disk->files[which];
    char path[sizeof disk->journal + 8];
    struct stat st;

    snprintf(path, sizeof path, "%s%s", disk->journal, suffixes[which]);
    if (stat(path, &st)) {
        forget_file(kept);
        return NULL;
    }
    if (kept->fd < 0 || kept->inode != st.st_ino) {
        forget_file(kept);
        kept->fd = open(path, O_RDWR | O_CLOEXEC);
        if (kept->fd < 0) {
            return NULL;
        }
        kept->inode = st.st_ino;
        unsynced_settle(&kept->unsynced, kept->fd);
    }
    return kept;
}

/* Files.  What only reads or locks is passed on. */

static int
file_close(sqlite3_file *file)
{
    return real_of(file)->pMethods->xClose(real_of(file));
}

static int
file_read(sqlite3_file *file, void *data, int size, sqlite3_int64 at)
{
    return real_of(file)->pMethods->xRead(real_of(file), data, size, at);
}

static int
file_write(sqlite3_file *file, const void *data, int size, sqlite3_int64 at)
{
    struct disk *disk = disk_of(file);

    if (!disk->point(disk->ctx, "before it writes to the disk")) {
        return SQLITE_IOERR_WRITE;
    }
    if (disk->fault == DISK_FULL) {
        return SQLITE_FULL;
    }
    if (disk->fault == DISK_FAILS) {
        return SQLITE_IOERR_WRITE;
    }
    if (kept_of(file)) {
        unsynced_touch(&kept_of(file)->unsynced, kept_of(file)->fd,
                       (uint64_t)at, (uint64_t)size);
    }
    int code = real_of(file)->pMethods->xWrite(real_of(file), data, size, at);
    return disk->point(disk->ctx, "after it wrote to the disk")
               ? code
               : SQLITE_IOERR_WRITE;
}

static int
file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    struct disk *disk = disk_of(file);

    if (!disk->point(disk->ctx, "before it cuts a file")) {
        return SQLITE_IOERR_TRUNCATE;
    }
    struct disk_unsynced *kept = kept_of(file);
    if (kept && (uint64_t)size < kept->unsynced.size) {
        unsynced_touch(&kept->unsynced, kept->fd, (uint64_t)size,
                       kept->unsynced.size - (uint64_t)size);
    }
    return real_of(file)->pMethods->xTruncate(real_of(file), size);
}

static int
file_sync(sqlite3_file *file, int flags)
{
    struct disk *disk = disk_of(file);

    if (!disk->point(disk->ctx, "before it syncs the disk") ||
        disk->fault != DISK_WORKS) {
        return SQLITE_IOERR_FSYNC;
    }
    int code = real_of(file)->pMethods->xSync(real_of(file), flags);
    if (code == SQLITE_OK) {
        disk->n_syncs++;
        if (kept_of(file)) {
            unsynced_settle(&kept_of(file)->unsynced, kept_of(file)->fd);
        }
    }
    return disk->point(disk->ctx, "after it synced the disk")
               ? code
               : SQLITE_IOERR_FSYNC;
}

static int
file_size(sqlite3_file *file, sqlite3_int64 *out)
{
    return real_of(file)->pMethods->xFileSize(real_of(file), out);
}

static int
file_lock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xLock(real_of(file), level);
}

static int
file_unlock(sqlite3_file *file, int level)
{
    return real_of(file)->pMethods->xUnlock(real_of(file), level);
}

static int
file_check_lock(sqlite3_file *file, int *out)
{
    return real_of(file)->pMethods->xCheckReservedLock(real_of(file), out);
}

static int
file_control(sqlite3_file *file, int op, void *arg)
{
    return real_of(file)->pMethods->xFileControl(real_of(file), op, arg);
}

static int
file_sector_size(sqlite3_file *file)
{
    return real_of(file)->pMethods->xSectorSize(real_of(file));
}

static int
file_traits(sqlite3_file *file)
{
    return real_of(file)->pMethods->xDeviceCharacteristics(real_of(file));
}

static int
file_shm_map(sqlite3_file *file, int page, int size, int extend,
             void volatile **out)
{
    return real_of(file)->pMethods->xShmMap(real_of(file), page, size, extend,
                                            out);
}

static int
file_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
    return real_of(file)->pMethods->xShmLock(real_of(file), offset, n, flags);
}

static void
file_shm_barrier(sqlite3_file *file)
{
    real_of(file)->pMethods->xShmBarrier(real_of(file));
}

static int
file_shm_unmap(sqlite3_file *file, int remove)
{
    return real_of(file)->pMethods->xShmUnmap(real_of(file), remove);
}

static const sqlite3_io_methods file_methods = {
    .iVersion = 2,
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_check_lock,
    .xFileControl = file_control,
    .xSectorSize = file_sector_size,
    .xDeviceCharacteristics = file_traits,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int
vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
         int *flags_out)
{
    struct disk *disk = vfs->pAppData;
    struct disk_file *of = (struct disk_file *)(void *)file;

    of->disk = disk;
    of->kept = NULL;
    file->pMethods = NULL;
    int code =
        disk->real->xOpen(disk->real, name, real_of(file), flags, flags_out);
    if (real_of(file)->pMethods) {
        file->pMethods = &file_methods;
    }
    for (unsigned i = 0; name && !code && i < DISK_HEAD; i++) {
        size_t length = strlen(disk->journal);

        if (!strncmp(name, disk->journal, length) &&
            !strcmp(name + length, suffixes[i])) {
            of->kept = follow_file(disk, i);
        }
    }
    return code;
}

static int
vfs_delete(sqlite3_vfs *vfs, const char *name, int sync)
{
    struct disk *disk = vfs->pAppData;

    if (!disk->point(disk->ctx, "before it removes a file")) {
        return SQLITE_IOERR_DELETE;
    }
    return disk->real->xDelete(disk->real, name, sync);
}

/* The mark beside the journal is written in two sectors, in turns; what it was
 * when it was last synced is all that must be known. */
int __wrap_fdatasync(int fd);

int
__wrap_fdatasync(int fd)
{
    struct disk_unsynced *kept = NULL;
    struct stat st;

    if (the_disk && !fstat(fd, &st)) {
        kept = &the_disk->files[DISK_HEAD];
        if (kept->inode != st.st_ino || kept->fd < 0) {
            kept = follow_file(the_disk, DISK_HEAD);
        }
    }
    int result = (int)syscall(SYS_fdatasync, fd);
    if (kept && kept->inode == st.st_ino && !result) {
        unsynced_settle(&kept->unsynced, kept->fd);
        unsynced_touch(&kept->unsynced, kept->fd, 0, kept->unsynced.size);
    }
    return result;
}

/* The disk. */

uint32_t
disk_cut_power(struct disk *disk, uint64_t seed)
{
    struct prng prng;
    uint32_t n = 0;

    prng_init(&prng, seed);
    for (unsigned i = 0; i < DISK_N_FILES; i++) {
        struct disk_unsynced *kept = follow_file(disk, i);

        if (kept) {
            n += unsynced_lose(&kept->unsynced, kept->fd, &prng);
        }
        if (kept && i == DISK_HEAD) {
            unsynced_touch(&kept->unsynced, kept->fd, 0, kept->unsynced.size);
        }
    }
    return n;
}

static int
make_dirs(struct disk *disk)
{
    static const char *const places[] = {"/dev/shm", "/tmp"};
    bool made = false;

    for (size_t i = 0; i < 2 && !made; i++) {
        snprintf(disk->dir, sizeof disk->dir, "%s/msim.XXXXXX", places[i]);
        made = mkdtemp(disk->dir);
    }
    if (!made) {
        disk->dir[0] = '\0';
        return -errno;
    }
    snprintf(disk->journal, sizeof disk->journal, "%s/journal.db", disk->dir);
    snprintf(disk->saved, sizeof disk->saved, "%s/saved", disk->dir);
    if (mkdir(disk->saved, 0700)) {
        return -errno;
    }
    disk->saved_dirfd = open(disk->saved, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return disk->saved_dirfd < 0 ? -errno : 0;
}

int
disk_create(struct disk **out, bool (*point)(void *ctx, const char *where),
            void *ctx)
{
    struct disk *disk = calloc(1, sizeof *disk);

    if (!disk) {
        return -ENOMEM;
    }
    disk->saved_dirfd = -1;
    for (unsigned i = 0; i < DISK_N_FILES; i++) {
        disk->files[i].fd = -1;
    }
    disk->point = point;
    disk->ctx = ctx;
    int error = make_dirs(disk);
    if (error) {
        disk_destroy(disk);
        return error;
    }
    sqlite3_initialize();
    disk->real = sqlite3_vfs_find(NULL);
    disk->vfs = *disk->real;
    disk->vfs.zName = "msim";
    disk->vfs.pNext = NULL;
    disk->vfs.pAppData = disk;
    disk->vfs.szOsFile = (int)sizeof(struct disk_file) + disk->real->szOsFile;
    disk->vfs.xOpen = vfs_open;
    disk->vfs.xDelete = vfs_delete;
    if (sqlite3_vfs_register(&disk->vfs, 1) != SQLITE_OK) {
        disk->real = NULL;
        disk_destroy(disk);
        return -ENOMEM;
    }
    the_disk = disk;
    *out = disk;
    return 0;
}

/* A directory without directories in it.  Reading it while files go may leave
 * some out, so it is read again until it can go itself. */
static void
remove_dir(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;

    for (int i = 0; dir && rmdir(path) && i < 100; i++) {
        rewinddir(dir);
        while ((entry = readdir(dir))) {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    if (dir) {
        closedir(dir);
    }
}

void
disk_destroy(struct disk *disk)
{
    if (!disk) {
        return;
    }
    if (disk->real) {
        sqlite3_vfs_unregister(&disk->vfs);
        sqlite3_vfs_register(disk->real, 1);
    }
    if (disk->saved_dirfd >= 0) {
        close(disk->saved_dirfd);
    }
    for (unsigned i = 0; i < DISK_N_FILES; i++) {
        forget_file(&disk->files[i]);
    }
    the_disk = NULL;
    if (disk->dir[0]) {
        remove_dir(disk->saved);
        remove_dir(disk->dir);
    }
    free(disk);
}

void
disk_set_fault(struct disk *disk, enum disk_fault fault)
{
    disk->fault = fault;
}

enum disk_fault
disk_fault(const struct disk *disk)
{
    return disk->fault;
}

const char *
disk_journal_path(const struct disk *disk)
{
    return disk->journal;
}

int
disk_saved_dirfd(const struct disk *disk)
{
    return disk->saved_dirfd;
}

bool
disk_has_saved(const struct disk *disk, uint32_t cpu)
{
    char name[32];

    snprintf(name, sizeof name, "pstate-cpu%u", cpu);
    return !faccessat(disk->saved_dirfd, name, F_OK, 0);
}

uint64_t
disk_n_syncs(const struct disk *disk)
{
    return disk->n_syncs;
}
