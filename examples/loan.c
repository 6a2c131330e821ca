/* SPDX-License-Identifier: Apache-2.0 */
/* Large data by reference: pictures of 8 MiB that nobody copies.  One end draws
 * them in memory that both map and sends where they are; the other looks at
 * them there and gives them back.  For ends that trust each other.
 *
 *   loan URI          waits, and looks at each picture
 *   loan URI NUMBER   draws so many */
#include <errno.h>
#include <mchan.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PICTURE_SIZE (8u << 20)
#define LOAN_BYTES (4u * PICTURE_SIZE) /* Room for some under way. */

/* Sleeps until there is something to receive, an event, or room to send. */
static void
wait_for(struct mchan *channel, unsigned what)
{
    struct pollfd pollfd = {.fd = mchan_fd(channel), .events = POLLIN};
    while (!mchan_arm(channel, what)) {
        poll(&pollfd, 1, -1);
    }
}

/* Draws a picture of one grey and sends it: 0, -EAGAIN or why not. */
static int
draw(struct mchan *channel, uint8_t grey)
{
    struct mchan_loan loan;
    int error = mchan_loan(channel, PICTURE_SIZE, &loan);
    if (error) {
        return error;
    }
    struct mchan_msg message = {.size = PICTURE_SIZE, .tag = grey};
    memset(loan.data, grey, PICTURE_SIZE);
    error = mchan_send_loan(channel, &loan, &message);
    if (error) {
        mchan_unloan(channel, &loan);
    }
    return error;
}

static int
draw_all(struct mchan *channel, unsigned n)
{
    struct mchan_event event;
    struct mchan_stats stats = {0};
    for (unsigned n_drawn = 0; n_drawn < n;) {
        int error = draw(channel, (uint8_t)n_drawn);
        if (error && error != -EAGAIN && error != -ENOTCONN) {
            fprintf(stderr, "loan: %s\n", strerror(-error));
            return 1;
        }
        n_drawn += !error;
        if (error) {
            wait_for(channel, MCHAN_READABLE | MCHAN_WRITABLE);
            while (mchan_next_event(channel, &event)) {
                /* UP, sooner or later. */
            }
        }
    }
    /* Until all were looked at. */
    while (!mchan_stats(channel, &stats, sizeof stats) && stats.n_acked < n) {
        mchan_wait(channel, 10);
    }
    printf("drew %u pictures\n", n);
    return 0;
}

static int
look_at_all(struct mchan *channel)
{
    struct mchan_event event = {0};
    struct mchan_view view;
    unsigned n = 0, n_wrong = 0;
    while (event.type != MCHAN_PEER_LOST) {
        wait_for(channel, MCHAN_READABLE);
        while (!mchan_view(channel, &view)) {
            const uint8_t *picture = view.data;
            n++;
            for (size_t i = 0; i < view.size; i += 4096) {
                n_wrong += picture[i] != (uint8_t)view.info.tag;
            }
            mchan_release(channel, &view);
        }
        mchan_next_event(channel, &event);
    }
    printf("looked at %u pictures, %u wrong places\n", n, n_wrong);
    return n_wrong != 0;
}

int
main(int argc, char **argv)
{
    struct mchan *channel;
    struct mchan_opts opts = MCHAN_OPTS_INIT;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: loan URI [NUMBER]\n");
        return 2;
    }
    opts.loan_bytes = LOAN_BYTES;
    int error = argc == 2 ? mchan_listen(&channel, argv[1], &opts)
                          : mchan_open(&channel, argv[1], &opts);
    if (error) {
        fprintf(stderr, "loan: %s: %s\n", argv[1], strerror(-error));
        return 1;
    }
    int status = argc == 2
                     ? look_at_all(channel)
                     : draw_all(channel, (unsigned)strtoul(argv[2], NULL, 0));
    mchan_close(channel);
    return status;
}
