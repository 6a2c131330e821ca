/* SPDX-License-Identifier: Apache-2.0 */
/* The smallest pair: each end says hello to the other.
 *
 *   cc -o hello hello.c $(pkg-config --cflags --libs mchan)
 *   ./hello shm:/tmp/hello listen & ./hello shm:/tmp/hello */
#include <mchan.h>
#include <stdio.h>

int
main(int argc, char **argv)
{
    struct mchan *channel;
    struct mchan_event event;
    struct mchan_msg hello = {.data = "hello from the other end", .size = 25};
    char text[64];
    if ((argc > 2 ? mchan_listen : mchan_open)(&channel, argv[1], NULL)) {
        return 1;
    }
    do {
        mchan_wait(channel, -1);
        while (mchan_next_event(channel, &event)) {
            if (event.type == MCHAN_UP) {
                mchan_send(channel, &hello);
            }
        }
    } while (mchan_recv(channel, text, sizeof text, NULL) < 0);
    puts(text);
    mchan_close(channel);
}
