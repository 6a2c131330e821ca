/* SPDX-License-Identifier: Apache-2.0 */
/* Request and answer.  A request carries a number of the asker's choice, and
 * its answer carries it back, so that many may be under way.  The side that
 * answers may be restarted at any moment: the asker then asks again what was
 * not answered, which is safe because an answer depends on nothing but its
 * request.
 *
 *   reqans URI          answers, for ever
 *   reqans URI NUMBER   asks for so many squares, eight at a time */
#include <mchan.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNDER_WAY_MAX 8

/* Both directions; in an answer 'number' is squared. */
struct question {
    uint64_t id, number;
};

static int
say(struct mchan *channel, uint64_t id, uint64_t number)
{
    struct question question = {id, number};
    struct mchan_msg message = {.data = &question, .size = sizeof question};
    return mchan_send(channel, &message);
}

static void
answer_for_ever(struct mchan *channel)
{
    struct question q;
    struct mchan_event event;
    for (;;) {
        mchan_wait(channel, -1);
        while (mchan_next_event(channel, &event)) {
            /* Whoever comes is answered; who leaves needs nothing. */
        }
        while (mchan_recv(channel, &q, sizeof q, NULL) == sizeof q) {
            /* There is room: who asks has at most eight under way. */
            (void)say(channel, q.id, q.number * q.number);
        }
    }
}

/* What is under way stands in slot id % UNDER_WAY_MAX; 0: nothing. */
struct asker {
    uint64_t ids[UNDER_WAY_MAX];
    bool sent[UNDER_WAY_MAX]; /* In this session. */
    uint64_t n, next, n_answered, n_asked_again;
};

/* Fills free slots, and sends what was not sent. */
static void
ask(struct asker *asker, struct mchan *channel)
{
    while (asker->next <= asker->n &&
           !asker->ids[asker->next % UNDER_WAY_MAX]) {
        asker->ids[asker->next % UNDER_WAY_MAX] = asker->next;
        asker->next++;
    }
    for (int i = 0; i < UNDER_WAY_MAX; i++) {
        if (asker->ids[i] && !asker->sent[i]) {
            asker->sent[i] = !say(channel, asker->ids[i], asker->ids[i]);
        }
    }
}

static void
on_event(struct asker *asker, const struct mchan_event *event)
{
    /* In a session that goes on nothing is lost.  In a new one the other end
     * knows nothing of what was asked, or has forgotten it. */
    for (int i = 0;
         event->type == MCHAN_UP && !event->resumed && i < UNDER_WAY_MAX; i++) {
        asker->n_asked_again += asker->sent[i];
        asker->sent[i] = false;
    }
}

static void
on_answer(struct asker *asker, const struct question *answer)
{
    uint64_t slot = answer->id % UNDER_WAY_MAX;
    if (answer->id && asker->ids[slot] == answer->id) {
        asker->ids[slot] = 0;
        asker->sent[slot] = false;
        asker->n_answered += answer->number == answer->id * answer->id;
    } /* Else it is the second answer to what was asked again. */
}

static void
ask_for(struct mchan *channel, uint64_t n)
{
    struct asker asker = {.n = n, .next = 1};
    struct question answer;
    struct mchan_event event;
    while (asker.n_answered < n) {
        mchan_wait(channel, -1);
        while (mchan_next_event(channel, &event)) {
            on_event(&asker, &event);
        }
        while (mchan_recv(channel, &answer, sizeof answer, NULL) ==
               sizeof answer) {
            on_answer(&asker, &answer);
        }
        ask(&asker, channel);
    }
    printf("%llu answers, asked again %llu\n", (unsigned long long)n,
           (unsigned long long)asker.n_asked_again);
}

int
main(int argc, char **argv)
{
    struct mchan *channel;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: reqans URI [NUMBER]\n");
        return 2;
    }
    int error = argc == 2 ? mchan_listen(&channel, argv[1], NULL)
                          : mchan_open(&channel, argv[1], NULL);
    if (error) {
        fprintf(stderr, "reqans: %s: %s\n", argv[1], strerror(-error));
        return 1;
    }
    if (argc == 2) {
        answer_for_ever(channel);
    }
    ask_for(channel, strtoull(argv[2], NULL, 0));
    mchan_close(channel);
    return 0;
}
