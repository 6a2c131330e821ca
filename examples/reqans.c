/* SPDX-License-Identifier: Apache-2.0 */
/* Request and answer.  A request carries a number of the asker's choice, and
 * its answer carries it back, so that many may be under way.  The side that
 * answers may be restarted at any moment: the asker then asks again what was
 * not answered, which is safe because an answer depends on nothing but its
 * request.
 *
 *   reqans URI          answers, for ever
 *   reqans URI NUMBER   asks for so many squares, eight at a time */
#include <errno.h>
#include <mchan.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNDER_WAY_MAX 8

/* Both directions. */
struct question {
    uint64_t id;
    uint64_t number; /* In an answer: its square. */
};

static struct mchan_msg
message_of(const struct question *question)
{
    struct mchan_msg message = {.data = question, .size = sizeof *question};
    return message;
}

static void
answer_for_ever(struct mchan *channel)
{
    struct question question;
    struct mchan_event event;
    for (;;) {
        mchan_wait(channel, -1);
        while (mchan_next_event(channel, &event)) {
            /* Whoever comes is answered; who leaves needs nothing. */
        }
        while (mchan_recv(channel, &question, sizeof question, NULL) ==
               sizeof question) {
            question.number *= question.number;
            struct mchan_msg answer = message_of(&question);
            /* There is room: each who asks has at most eight under way. */
            (void)mchan_send(channel, &answer);
        }
    }
}

/* What is under way: slot id % UNDER_WAY_MAX, free if its id is 0. */
struct asker {
    struct mchan *channel;
    struct question asked[UNDER_WAY_MAX];
    int sent[UNDER_WAY_MAX]; /* In this session. */
    uint64_t n, next, n_answered, n_asked_again;
};

/* Fills free slots, and sends what was not sent. */
static void
ask(struct asker *asker)
{
    while (asker->next <= asker->n &&
           !asker->asked[asker->next % UNDER_WAY_MAX].id) {
        struct question question = {asker->next, asker->next};
        asker->sent[asker->next % UNDER_WAY_MAX] = 0;
        asker->asked[asker->next++ % UNDER_WAY_MAX] = question;
    }
    for (int i = 0; i < UNDER_WAY_MAX; i++) {
        if (asker->asked[i].id && !asker->sent[i]) {
            struct mchan_msg message = message_of(&asker->asked[i]);
            asker->sent[i] = !mchan_send(asker->channel, &message);
        }
    }
}

static void
on_event(struct asker *asker, const struct mchan_event *event)
{
    /* In a session that goes on nothing is lost.  In a new one the other end
     * knows nothing of what was asked, or has forgotten it. */
    if (event->type == MCHAN_UP && !event->resumed) {
        for (int i = 0; i < UNDER_WAY_MAX; i++) {
            asker->n_asked_again += (uint64_t)asker->sent[i];
            asker->sent[i] = 0;
        }
    }
}

static int
on_answer(struct asker *asker, const struct question *answer)
{
    struct question *slot = &asker->asked[answer->id % UNDER_WAY_MAX];
    if (!answer->id || slot->id != answer->id) {
        return 0; /* The second answer to what was asked again. */
    }
    if (answer->number != slot->number * slot->number) {
        return -EPROTO;
    }
    slot->id = 0;
    asker->sent[answer->id % UNDER_WAY_MAX] = 0;
    asker->n_answered++;
    return 0;
}

static int
ask_for(struct mchan *channel, uint64_t n)
{
    struct asker asker = {.channel = channel, .n = n, .next = 1};
    struct question answer;
    struct mchan_event event;
    while (asker.n_answered < n) {
        mchan_wait(channel, -1);
        while (mchan_next_event(channel, &event)) {
            on_event(&asker, &event);
        }
        while (mchan_recv(channel, &answer, sizeof answer, NULL) ==
               sizeof answer) {
            if (on_answer(&asker, &answer)) {
                fprintf(stderr, "reqans: a wrong answer\n");
                return 1;
            }
        }
        ask(&asker);
    }
    printf("%llu answers, asked again %llu\n",
           (unsigned long long)asker.n_answered,
           (unsigned long long)asker.n_asked_again);
    return 0;
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
    int status = 0;
    if (argc == 2) {
        answer_for_ever(channel);
    } else {
        status = ask_for(channel, strtoull(argv[2], NULL, 0));
    }
    mchan_close(channel);
    return status;
}
