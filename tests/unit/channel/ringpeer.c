/* SPDX-License-Identifier: Apache-2.0 */
/* The guest of ringpeer.h, with the ring of transport/ but no channel. */
#include "ringpeer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "transport/passing.h"
#include "transport/returns.h"
#include "wire/frame.h"

static size_t
memory_size(const struct scene *scene)
{
    return RINGPEER_WORDS + 2 * (size_t)scene->opts.ring_size +
           (scene->opts.loan_bytes ? 2 * sizeof(struct returns) : 0);
}

void
ringpeer_connect(struct scene *scene)
{
    uint8_t handover[16];
    unsigned n;
    int fd;
    uint32_t ring = scene->opts.ring_size;
    scene_connect(scene);
    mchan_arm(scene->channel, MCHAN_READABLE);
    assert_int_equal(
        passing_recv(scene->raw, handover, sizeof handover, &fd, &n), 16);
    assert_int_equal(n, 1);
    assert_int_equal(handover[12], scene->opts.loan_bytes != 0);
    scene->memory = mmap(NULL, memory_size(scene), PROT_READ | PROT_WRITE,
                         MAP_SHARED, fd, 0);
    assert_true(scene->memory != MAP_FAILED);
    close(fd);
    struct ring_words *words = (struct ring_words *)(void *)scene->memory;
    uint8_t *rings = scene->memory + RINGPEER_WORDS;
    ring_tx_init(&scene->tx, rings + ring, ring, &words[1], &words[0]);
    ring_rx_init(&scene->rx, rings, ring, &words[1], &words[0]);
}

void
ringpeer_leave(struct scene *scene)
{
    if (scene->memory) {
        munmap(scene->memory, memory_size(scene));
        scene->memory = NULL;
    }
    if (scene->raw >= 0) {
        close(scene->raw);
        scene->raw = -1;
    }
}

void
ringpeer_wake(struct scene *scene)
{
    (void)send(scene->raw, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
}

void
ringpeer_put(struct scene *scene, const struct record *record, const void *data)
{
    uint8_t *to = ring_tx_reserve(&scene->tx, record->size);
    assert_non_null(to);
    memcpy(to, data, record->size);
    ring_tx_commit(&scene->tx, record);
    ringpeer_wake(scene);
}

void
ringpeer_come_up(struct scene *scene, uint64_t loan_bytes)
{
    struct hello hello = {.message_max = scene->opts.ring_size / 8,
                          .loan_bytes = loan_bytes};
    struct record record = {.size = HELLO_SIZE, .kind = RECORD_HELLO};
    uint8_t data[HELLO_SIZE];
    ringpeer_leave(scene);
    mchan_arm(scene->channel, MCHAN_READABLE); /* It sees that. */
    ringpeer_connect(scene);
    frame_put_hello(data, &hello);
    ringpeer_put(scene, &record, data);
    scene->attachment = scene_expect(scene->channel, MCHAN_UP).attachment;
}
