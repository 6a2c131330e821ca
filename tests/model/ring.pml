/* SPDX-License-Identifier: Apache-2.0 */
/* A model of one ring and its waking, for spin: transport/ring.c, ringfast.h, the
 * socket of shm.c and the order in which channel/wait.c arms and looks.  One
 * producer, one consumer, each behind a buffer of stores (memory.pml).  What a
 * weaker order of loads could do is written out where the loads are
 * (NO_ACQUIRE_COMMIT, NO_RELEASE_ROOM).
 *
 * Who is busy for long says AWAKE in the place of its wish (here: whenever it
 * may), and the other side then looks without a fence.  FENCED: nobody does.
 *
 * Shown, for every run of at most MESSAGES messages of one or two slots that
 * may end after any of them, cursors that wrap included:
 *   - nobody sleeps for ever with work to do (timeout, at the foot);
 *   - what is read was committed, whole, once, and in order;
 *   - nothing is written over before it was released;
 *   - no position is ever refused as a lie;
 *   - a wake that does not fit into the socket is not missed.
 * And nobody goes round for ever, so that who may go on gets on: no state here
 * counts as progress, so any cycle is an error, whichever process is favoured.
 * There is none, since each round uses up what only a message makes.  Who sleeps
 * needs an edge to go on, which attend() takes, and an edge needs a wake; a wake
 * needs new records (woken != head) or new room (released != read_to), which the
 * messages bound.  The producer's "goto again" needs a tail that moved, a look
 * that finds a record takes it, and a fence or a store buffer works off stores
 * that were made.  NO_SLEEP is what it looks like when that does not hold.
 *
 * check.py says what is run, and which macro takes out what: each makes spin
 * find an error, whose trail check.py tells from the printf()s here. */

#ifndef SLOTS
#define SLOTS 4 /* Of 64 bytes. */
#endif
#ifndef MESSAGES
#define MESSAGES 4
#endif
#ifndef WAKES_LEFT_MAX
#define WAKES_LEFT_MAX 2 /* Wakes seen before any is read. */
#endif
#ifndef SOCKET_SIZE
#define SOCKET_SIZE 3 /* Wakes that fit into the socket. */
#endif

/* Positions count for ever; here they wrap in the middle of a run. */
#define POSITIONS 64
#define START (POSITIONS - SLOTS)
#define DISTANCE(from, to) (((to) + POSITIONS - (from)) % POSITIONS)
#define AFTER(position, n) (((position) + (n)) % POSITIONS)

/* Shared words.  A slot has its first word, which commits a record if it is
 * where one begins, and the rest. */
#define FIRST(position) ((position) % SLOTS)
#define REST(position) (SLOTS + (position) % SLOTS)
#define RELEASED (2 * SLOTS)
#define DATA_EVENT (2 * SLOTS + 1)
#define SPACE_EVENT (2 * SLOTS + 2)
#define WORDS (2 * SLOTS + 3)

/* A first word: kind, which is also the record's slots.  Payload that lies where
 * a first word may come to lie looks like one, as a stranger's would. */
#define NOTHING 0
#define PAD 3
#define KIND(word) ((word) & 3)
#define PAYLOAD(sequence) (((sequence) << 2) | 1)

/* An event: the position waited for, and a bit; or RING_AWAKE. */
#define AWAKE 2
#define WISH(position) ((position) * 2 + 1)
#define WISHED(event) ((event) / 2)
#define IS_WISH(event) ((event) & 1)

/* What fences and orders there are.  PRODUCER's and CONSUMER's fences are named
 * by the function of ring.c in which they stand. */
#define PRODUCER 0
#define CONSUMER 1
#ifdef NO_RELEASE_COMMIT
#define RELEASES_COMMIT 0
#else
#define RELEASES_COMMIT 1
#endif
#ifdef NO_RELEASE_PAD
#define RELEASES_PAD 0
#else
#define RELEASES_PAD 1
#endif
#define RELEASES_ROOM 1

#include "memory.pml"

/* The sockets.  An arrival is an edge; epoll reports it if there is something
 * to read, and forgets it. */
byte wakes[2];
bool edge[2];
byte wakes_left[2];

inline wake(who)
{
    atomic {
        if
        :: wakes[who] < SOCKET_SIZE ->
            wakes[who]++;
            edge[who] = 1;
            printf("wake %d\n", who)
        :: else -> /* send() says EAGAIN, and nobody is told. */
            printf("drop %d\n", who)
        fi
    }
}

/* A turn: collect() in channel.c, then shm_attend(). */
inline attend(who)
{
    atomic {
        if
        :: edge[who] && wakes[who] -> wakes_left[who]++
        :: else -> skip
        fi;
        edge[who] = 0
    }
    if
    :: wakes_left[who] < WAKES_LEFT_MAX -> skip
    :: else ->
        atomic {
            wakes_left[who] = 0;
            wakes[who] = 0 /* Up to 256; so many are never there. */
        }
    fi
}

#define READABLE(who) (edge[who] && wakes[who])

/* stay_awake(): after a while without a sleep, so not as soon as it is armed. */
inline stay_awake(who, event, now_at)
{
#ifndef FENCED
    if
    :: !awake && now_at != slept ->
        atomic { awake = 1; put(who, event, AWAKE, 0) }
    :: 1 -> skip
    fi
#else
    skip
#endif
}

/* arm() */
inline arm(who, event, wanted, now_at)
{
    put(who, event, WISH(wanted), 0);
#ifndef NO_FENCE_TX_ARM
    if
    :: who == PRODUCER -> fence(who)
    :: else -> skip
    fi;
#endif
#ifndef NO_FENCE_RX_ARM
    if
    :: who == CONSUMER -> fence(who)
    :: else -> skip
    fi;
#endif
    slept = now_at;
    if
    :: awake ->
        awake = 0;
#ifndef NO_BARRIER
        barrier(who)
#endif
    :: else -> skip
    fi
}

/* What only the proof sees. */
byte tail_seen = START;  /* The consumer's 'released', before it is stored. */
byte read_to = START;    /* What it has read. */
byte n_sent, n_received; /* Messages. */
bool stopped;            /* The producer sends no more. */

/* The producer. */

#define FITS(slots)                                                            \
    (DISTANCE(tail, AFTER(head, pad + (slots) + SPARE)) <= SLOTS)
#ifdef NO_SPARE_SLOT
#define SPARE 0
#else
#define SPARE 1 /* For the zeroed header behind the record. */
#endif

/* A store into the ring is one into room that was given back. */
inline put_slot(where, word, value, releases)
{
    atomic {
        assert(DISTANCE(tail_seen, where) < SLOTS);
        put(PRODUCER, word, value, releases)
    }
}

/* ring_tx_refresh() */
inline refresh()
{
    atomic {
        got = memory[RELEASED];
        printf("look %d %d %d\n", PRODUCER, RELEASED, got);
        assert(DISTANCE(tail, got) <= DISTANCE(tail, head));
        tail = got;
        got = 0
    }
    stay_awake(PRODUCER, SPACE_EVENT, head)
}

#ifdef ZERO_AHEAD_WITHOUT_ROOM
#define MAY_ZERO_AHEAD 1
#else
#define MAY_ZERO_AHEAD (DISTANCE(tail, AFTER(ahead, 1)) <= SLOTS)
#endif
#define ZERO(position)                                                         \
    put_slot(position, FIRST(position), NOTHING, 0);                           \
    zeroed = position

/* ring_tx_commit(), the payload first.  The header behind the next record is
 * zeroed already if that is as long as this one and there is room. */
inline commit()
{
    if
    :: size == 2 ->
        put_slot(AFTER(start, 1), FIRST(AFTER(start, 1)),
                 PAYLOAD(n_sent + 1), 0)
    :: else -> skip
    fi;
#ifdef HEADER_BEFORE_ZERO
    put_slot(start, FIRST(start), size, RELEASES_COMMIT);
#endif
#ifdef PAD_BEFORE_RECORD
    if
    :: pad -> put_slot(head, FIRST(head), PAD, 1)
    :: else -> skip
    fi;
#endif
#ifndef NO_ZERO
    if
    :: zeroed != AFTER(start, size) -> ZERO(AFTER(start, size))
    :: else -> skip
    fi;
#endif
    put_slot(start, REST(start), n_sent + 1, 0);
#ifndef HEADER_BEFORE_ZERO
    put_slot(start, FIRST(start), size, RELEASES_COMMIT);
#endif
#ifndef PAD_BEFORE_RECORD
    if
    :: pad -> put_slot(head, FIRST(head), PAD, RELEASES_PAD)
    :: else -> skip
    fi;
#endif
    atomic {
        head = AFTER(start, size);
        n_sent++;
        pad = 0;
        start = 0;
        ahead = AFTER(head, size)
    }
#if !defined(NO_ZERO) && !defined(NO_ZERO_AHEAD)
    if
    :: MAY_ZERO_AHEAD && size <= SLOTS - head % SLOTS -> ZERO(ahead)
    :: else -> skip
    fi;
#endif
    atomic { size = 0; ahead = 0 }
}
/* ring_tx_must_wake(), and waking: for each record or, with BATCH, once for
 * several. */
inline wake_consumer()
{
    if
    :: woken != head ->
        atomic {
            got = memory[DATA_EVENT];
            printf("look %d %d %d\n", PRODUCER, DATA_EVENT, got)
        }
        if
        :: got == AWAKE -> skip
        :: else ->
#ifndef NO_FENCE_MUST_WAKE
            fence(PRODUCER)
#endif
        fi;
        atomic {
            if
            :: got == AWAKE -> skip
            :: else -> got = memory[DATA_EVENT]
            fi;
            printf("look %d %d %d\n", PRODUCER, DATA_EVENT, got);
            must = IS_WISH(got) &&
                   DISTANCE(woken, WISHED(got)) < DISTANCE(woken, head);
            got = 0;
            woken = head
        }
        if
        :: must -> wake(CONSUMER)
        :: else -> skip
        fi;
        must = 0
    :: else -> skip
    fi
}

proctype producer()
{
    byte head = START, tail = START, woken = START;
    byte zeroed = 255, slept = START; /* Nowhere; at its start. */
    byte size, pad, start, ahead, got, stood;
    bool awake, must;
next:
    atomic {
        if
        :: n_sent < MESSAGES -> size = 1
        :: n_sent < MESSAGES -> size = 2
        :: goto stop
        fi;
        pad = (size > SLOTS - head % SLOTS -> SLOTS - head % SLOTS : 0);
        start = AFTER(head, pad)
    }
    if
    :: FITS(size) -> goto write
    :: else -> skip
    fi;
room:
    attend(PRODUCER);
    refresh();
    wake_consumer();
    if
    :: FITS(size) -> goto write
    :: else -> skip
    fi;
again:
    stood = tail;
    /* ring_tx_arm() */
    got = AFTER(head, pad + size + SPARE + POSITIONS - SLOTS);
#ifdef EARLY_WISH
    if /* Somebody waits for less. */
    :: got = AFTER(tail, 1)
    :: skip
    fi;
#endif
    arm(PRODUCER, SPACE_EVENT, got, head);
    got = 0;
    attend(PRODUCER);
#ifndef NO_LAST_LOOK_ROOM
    refresh();
#endif
    if
    :: FITS(size) -> goto write
    :: else -> skip
    fi;
#ifndef NO_REARM
    if /* Some room came, and the wish may be used up. */
    :: stood != tail -> goto again
    :: else -> skip
    fi;
#endif
    stood = 0;
    printf("sleep %d\n", PRODUCER);
    READABLE(PRODUCER);
    goto room;
write:
    stood = 0;
    commit();
    if
    :: wake_consumer()
#ifdef BATCH
    :: skip
#endif
    fi;
    goto next;
stop:
    wake_consumer();
    stopped = 1;
end:
    skip
}

/* The consumer. */

/* ring_rx_release(), and waking. */
inline give_back()
{
    if
    :: released != read_to ->
        atomic { from = released; released = read_to; tail_seen = released }
        put(CONSUMER, RELEASED, released, RELEASES_ROOM);
        stay_awake(CONSUMER, DATA_EVENT, released);
        atomic {
            got = memory[SPACE_EVENT];
            printf("look %d %d %d\n", CONSUMER, SPACE_EVENT, got)
        }
        if
        :: got == AWAKE -> skip
        :: else ->
#ifndef NO_FENCE_RX_RELEASE
            fence(CONSUMER)
#endif
        fi;
        atomic {
            if
            :: got == AWAKE -> skip
            :: else -> got = memory[SPACE_EVENT]
            fi;
            printf("look %d %d %d\n", CONSUMER, SPACE_EVENT, got);
            must = IS_WISH(got) && WISHED(got) != from &&
                   DISTANCE(from, WISHED(got)) <= DISTANCE(from, released);
            got = 0;
            from = 0
        }
        if
        :: must -> wake(PRODUCER)
        :: else -> skip
        fi;
        must = 0
    :: else -> skip
    fi
}

inline load_header()
{
    atomic {
        kind = KIND(memory[FIRST(position)]);
        printf("look %d %d %d\n", CONSUMER, FIRST(position), kind)
    }
}

/* ring_rx_peek(): 'kind' is that of the next record, or NOTHING. */
inline peek()
{
    load_header()
    if
    :: kind == PAD ->
        assert(position % SLOTS); /* Else it would be a pad of no sense. */
        position = AFTER(position, SLOTS - position % SLOTS);
        load_header()
    :: else -> skip
    fi;
    /* It does not run over the end, and no pad follows a pad. */
    assert(kind != PAD && position % SLOTS + kind <= SLOTS)
}

proctype consumer()
{
    byte position = START, released = START;
    byte slept = START;
    byte kind, got, from, early;
    bool awake, must;
look:
#ifdef NO_ACQUIRE_COMMIT
    /* The payload may have been loaded before the header. */
    if
    :: early = memory[REST(position)]
    :: early = 0
    fi;
#endif
    peek();
    if
    :: kind == NOTHING -> goto nothing
    :: else -> skip
    fi;
    /* link_take(): a copy of what is there, then on. */
#ifdef NO_RELEASE_ROOM
    /* The loads of the copy may come behind the store of 'released'. */
    if
    :: read_to = AFTER(position, kind);
        give_back()
    :: skip
    fi;
#endif
    atomic {
#ifdef NO_ACQUIRE_COMMIT
        if
        :: early -> assert(early == n_received + 1)
        :: else -> assert(memory[REST(position)] == n_received + 1)
        fi;
        early = 0;
#else
        assert(memory[REST(position)] == n_received + 1);
#endif
    }
    atomic {
        if
        :: kind == 2 ->
            assert(memory[FIRST(AFTER(position, 1))] ==
                   PAYLOAD(n_received + 1))
        :: else -> skip
        fi;
        position = AFTER(position, kind);
        read_to = position;
        n_received++;
        from = 0;
        kind = 0
    }
    if
    :: give_back() /* Each eighth of the ring, */
    :: skip      /* so not always. */
    fi;
    goto look;
nothing:
    /* mchan_arm() */
#ifndef NO_RELEASE_BEFORE_SLEEP
    give_back();
#endif
#ifndef QUIET
    attend(CONSUMER);
#endif
    /* ring_rx_arm() */
    arm(CONSUMER, DATA_EVENT, position, position);
#ifndef QUIET
    attend(CONSUMER);
#endif
#ifndef NO_LAST_LOOK_DATA
    peek();
    if
    :: kind != NOTHING -> goto look
    :: else -> skip
    fi;
#endif
    printf("sleep %d\n", CONSUMER);
end:
#ifndef NO_SLEEP
    READABLE(CONSUMER);
#endif
#ifdef QUIET /* sleep_quietly() */
    attend(CONSUMER);
    goto look
#else
    goto nothing
#endif
}

init
{
    atomic {
        memory[RELEASED] = START;
        run producer();
        run consumer();
#ifndef MEMORY_SC
        run store_buffer(PRODUCER);
        run store_buffer(CONSUMER)
#endif
    }
    /* When nothing can go on, there is nothing to do. */
    timeout;
    assert(stopped);
    assert(n_received == n_sent)
}
