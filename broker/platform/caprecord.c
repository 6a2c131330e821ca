/* SPDX-License-Identifier: Apache-2.0 */
/* The cap's record in a file: one line of text and a checksum.
 *
 *     mbroker-cap 1 TERM ORDER COMMAND MW UNTIL CLAMPED DISOBEYED BOOT CRC
 *
 * Relies on base/crc and base/wholefile; called by caps.c, which decides, and
 * by restore.c, which leaves p-states alone that stand in for a cap. */
#include "broker/platform/caprecord.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/crc.h"
#include "base/sysfs.h"
#include "base/text.h"
#include "base/wholefile.h"

#define TEXT_SIZE 256

int
caprecord_write(int dirfd, const struct caprecord *record)
{
    char text[TEXT_SIZE];

    snprintf(text, sizeof text,
             "mbroker-cap 1 %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
             " %" PRId64 " %d %d %s",
             record->term, record->order, record->command, record->mw,
             record->until, record->clamped, record->disobeyed,
             record->boot[0] ? record->boot : "-");
    uint32_t crc = crc32_of(text, strlen(text));
    text_append(text, sizeof text, " %08" PRIx32 "\n", crc);
    return wholefile_write(dirfd, CAPRECORD_FILE, text);
}

int
caprecord_read(int dirfd, struct caprecord *out)
{
    struct caprecord record = {0};
    char text[TEXT_SIZE], *last;
    int clamped, disobeyed;
    uint32_t crc;

    int length = sysfs_read(dirfd, CAPRECORD_FILE, text, sizeof text);
    if (length < 0) {
        return length;
    }
    last = strrchr(text, ' ');
    if (!last || sscanf(last, " %8" SCNx32, &crc) != 1 ||
        crc != crc32_of(text, (size_t)(last - text))) {
        return -EBADMSG;
    }
    *last = '\0';
    if (sscanf(text,
               "mbroker-cap 1 %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
               " %" SCNd64 " %d %d %36s",
               &record.term, &record.order, &record.command, &record.mw,
               &record.until, &clamped, &disobeyed, record.boot) != 8) {
        return -EBADMSG;
    }
    record.clamped = clamped;
    record.disobeyed = disobeyed;
    *out = record;
    return 0;
}

bool
caprecord_is_clamped(int dirfd)
{
    struct caprecord record;
    int error = caprecord_read(dirfd, &record);

    return error ? error == -EBADMSG : record.clamped;
}
