/* SPDX-License-Identifier: Apache-2.0 */
/* Telemetry with MCHAN_LATEST: a sender that is faster than its reader.  No
 * queue of old values builds up; the reader always sees the newest of each key,
 * and what newer ones overtook is counted.
 *
 *   telemetry URI          waits for a sender and reads, slowly, to the last
 *   telemetry URI NUMBER   sends so many readings, as fast as it can */
#include <errno.h>
#include <mchan.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KEY_TEMPERATURE, KEY_FAN, N_KEYS };
enum { TAG_READING, TAG_THANKS };

struct reading {
    uint64_t number;
    int32_t value;
    int32_t is_last;
};

/* Waits for the next message.  Its size, or -Exxx when the peer is lost. */
static ssize_t
next_message(struct mchan *channel, void *data, size_t size,
             struct mchan_info *info)
{
    ssize_t got = -EAGAIN;
    while (got == -EAGAIN || got == -ENOTCONN) {
        struct mchan_event event;
        got = mchan_recv(channel, data, size, info);
        while (mchan_next_event(channel, &event)) {
            if (event.type == MCHAN_PEER_LOST && got < 0) {
                return -ECONNRESET;
            }
        }
        if (got < 0) {
            mchan_wait(channel, -1);
        }
    }
    return got;
}

static int
read_slowly(struct mchan *channel)
{
    struct reading newest[N_KEYS] = {{0, 0, 0}};
    struct mchan_info info;
    struct reading reading;
    unsigned n_seen = 0;
    while (!newest[KEY_TEMPERATURE].is_last || !newest[KEY_FAN].is_last) {
        if (next_message(channel, &reading, sizeof reading, &info) !=
                sizeof reading ||
            info.key >= N_KEYS) {
            return 1;
        }
        newest[info.key] = reading;
        n_seen++;
        poll(NULL, 0, 1); /* Whatever takes its time. */
    }
    printf("temperature %d, fan %d: saw %u readings\n",
           newest[KEY_TEMPERATURE].value, newest[KEY_FAN].value, n_seen);
    struct mchan_msg thanks = {.tag = TAG_THANKS};
    return mchan_send(channel, &thanks) != 0;
}

static int
send_fast(struct mchan *channel, uint64_t n)
{
    struct mchan_event event;
    while (!mchan_next_event(channel, &event) || event.type != MCHAN_UP) {
        mchan_wait(channel, -1);
    }
    for (uint64_t i = 1; i <= n; i++) {
        struct reading reading = {i, 0, i == n};
        struct mchan_msg message = {.data = &reading, .size = sizeof reading};
        message.tag = TAG_READING;
        message.delivery = MCHAN_LATEST; /* So there is always room. */
        for (int key = 0; key < N_KEYS; key++) {
            message.key = (uint8_t)key;
            reading.value = key == KEY_FAN ? (int32_t)i : 40 + (int32_t)(i % 9);
            if (mchan_send(channel, &message)) {
                return 1;
            }
        }
    }
    if (next_message(channel, NULL, 0, NULL) != 0) {
        return 1;
    }
    struct mchan_stats stats;
    mchan_stats(channel, &stats, sizeof stats);
    printf("sent %llu readings, newer ones overtook %llu\n",
           (unsigned long long)n * N_KEYS,
           (unsigned long long)stats.n_overtaken);
    return 0;
}

int
main(int argc, char **argv)
{
    struct mchan *channel;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: telemetry URI [NUMBER]\n");
        return 2;
    }
    int error = argc == 2 ? mchan_listen(&channel, argv[1], NULL)
                          : mchan_open(&channel, argv[1], NULL);
    if (error) {
        fprintf(stderr, "telemetry: %s: %s\n", argv[1], strerror(-error));
        return 1;
    }
    int status = argc == 2 ? read_slowly(channel)
                           : send_fast(channel, strtoull(argv[2], NULL, 0));
    mchan_close(channel);
    return status;
}
