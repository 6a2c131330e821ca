/* SPDX-License-Identifier: Apache-2.0 */
/* A model of how lent memory comes back, for spin: transport/returns.c and the
 * order in which channel/lending/loans.c gives and channel/wait.c arms and
 * looks.  The lender has CHUNKS and sleeps when all are lent; the borrower reads each and
 * gives it back, in any order.  That a chunk was lent goes over the ring, which
 * orders it.
 *
 * Shown: the lender does not sleep for ever though something came back; what it
 * takes is what was given; no chunk is written to while it is read.  NO_FENCE_GIVE,
 * NO_FENCE_ARM, NO_LAST_LOOK, NO_REARM and NO_RELEASE take out what that needs. */

#ifndef CHUNKS
#define CHUNKS 2
#endif
#ifndef LOANS
#define LOANS 5
#endif

/* Words: the count, the wish, the ring of words, which holds all that can be
 * lent at once. */
#define COUNT 0
#define WANTED 1
#define WORD(n) (2 + (n) % CHUNKS)
#define WORDS (2 + CHUNKS)

#define NONE 255
#define LENDER 0
#define BORROWER 1

#include "memory.pml"

/* What only the proof sees. */
chan lent = [CHUNKS] of { byte }; /* Over the ring. */
bool reads[CHUNKS];               /* The borrower looks at it. */
bool is_free[CHUNKS];             /* As the lender knows. */
byte n_loans, n_given;
bool woken, stopped;

/* loans_collect(): what came back is free. */
inline collect()
{
    atomic {
        count = memory[COUNT];
        printf("look %d %d %d\n", LENDER, COUNT, count);
        /* No more than was lent. */
        assert(count >= taken && count - taken <= n_out)
    }
    do
    :: taken < count ->
        atomic {
            chunk = memory[WORD(taken)];
            assert(chunk < CHUNKS && !is_free[chunk]);
            is_free[chunk] = 1;
            taken++;
            n_out--;
            chunk = 0
        }
    :: else -> break
    od;
    count = 0
}

/* What it sleeps for: one chunk, or all of them at once. */
#ifdef WANT_ALL
#define ENOUGH (n_out == 0)
#else
#define ENOUGH (n_out < CHUNKS)
#endif

proctype lender()
{
    byte taken, count, chunk, n_out, stood;
next:
    if
    :: n_loans == LOANS -> goto stop
    :: n_loans < LOANS && n_out < CHUNKS -> goto lend
    :: n_loans < LOANS && n_out == CHUNKS -> skip
    fi;
nothing:
    collect();
    if
    :: ENOUGH -> goto lend
    :: else -> skip
    fi;
    /* returns_arm() */
again:
    stood = taken;
    woken = 0; /* Wakes until here were taken in. */
    put(LENDER, WANTED, taken + 1, 0);
#ifndef NO_FENCE_ARM
    fence(LENDER);
#endif
#ifndef NO_LAST_LOOK
    collect();
#endif
    if
    :: ENOUGH -> goto lend
    :: else -> skip
    fi;
#ifndef NO_REARM
    if /* Some came back, and the wish may be used up. */
    :: stood != taken -> goto again
    :: else -> skip
    fi;
#endif
    printf("sleep %d\n", LENDER);
    woken;
    goto nothing;
lend:
    atomic {
        chunk = 0;
        do
        :: !is_free[chunk] -> chunk++
        :: is_free[chunk] -> break
        od;
        assert(!reads[chunk]); /* It is written to now. */
        is_free[chunk] = 0;
        reads[chunk] = 1;
        lent!chunk;
        n_out++;
        n_loans++;
        chunk = 0
    }
    goto next;
stop:
    stopped = 1
}

/* Gives back what it was lent, one by one, or two in the other order. */
proctype borrower()
{
    byte chunk, other = NONE, got, given;
end:
    do
    :: lent?chunk;
        if
        :: lent?other; atomic { got = chunk; chunk = other; other = got; got = 0 }
        :: 1 -> skip
        fi;
again:
        /* returns_give() */
        put(BORROWER, WORD(given), chunk, 0);
#ifdef NO_RELEASE
        put(BORROWER, COUNT, given + 1, 0);
        reads[chunk] = 0;
#else
        reads[chunk] = 0;
        put(BORROWER, COUNT, given + 1, 1);
#endif
        given++;
#ifndef NO_FENCE_GIVE
        fence(BORROWER);
#endif
        atomic {
            got = memory[WANTED];
            printf("look %d %d %d\n", BORROWER, WANTED, got);
            if
            :: got == given -> woken = 1; printf("wake %d\n", LENDER)
            :: else -> skip
            fi;
            got = 0;
            n_given++
        }
        if
        :: other != NONE -> atomic { chunk = other; other = NONE }; goto again
        :: else -> chunk = 0
        fi
    od
}

init
{
    atomic {
        byte i = 0;
        do
        :: i < CHUNKS -> is_free[i] = 1; i++
        :: else -> break
        od;
        run lender();
        run borrower();
        run store_buffer(LENDER);
        run store_buffer(BORROWER)
    }
    timeout;
    assert(stopped);
    assert(n_given == n_loans)
}
