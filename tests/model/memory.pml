/* SPDX-License-Identifier: Apache-2.0 */
/* Memory for the models here: WORDS shared words, and two sides, 0 and 1, each
 * behind a buffer of STORES stores that have not reached memory yet, because
 * fences exist for exactly that.
 *
 *   MEMORY_SC    no buffer: every store is seen at once
 *   MEMORY_TSO   x86: stores reach memory in order, later loads pass them
 *   MEMORY_WEAK  C11: stores to different words reach memory in any order,
 *                but a release store only behind all that were made before it
 *
 * A fence waits until its maker's buffer is empty; a barrier empties the other's,
 * at some moment of the call, as membarrier() does.  Each word has one writer, so
 * nobody reads what still lies in his own buffer.  The printf()s are for
 * check.py, which tells a trail from them. */

#ifndef STORES
#define STORES 4
#endif

byte memory[WORDS];

typedef store {
    byte word;
    byte value;
    bool behind /* All earlier ones: it releases. */
}
typedef buffer {
    store stores[STORES];
    byte n
}
buffer buffers[2];
hidden byte j;

inline put(who, where, what, releases)
{
#ifdef MEMORY_SC
    atomic {
        printf("store %d %d %d\n", who, where, what);
        memory[where] = what
    }
#else
    atomic {
        buffers[who].n < STORES;
        printf("store %d %d %d\n", who, where, what);
        buffers[who].stores[buffers[who].n].word = where;
        buffers[who].stores[buffers[who].n].value = what;
        buffers[who].stores[buffers[who].n].behind = releases;
        buffers[who].n++
    }
#endif
}

#define EMPTY(who) (buffers[who].n == 0)
inline fence(who)
{
    atomic { EMPTY(who); printf("fence %d\n", who) }
}

inline reach_memory(who, which)
{
    memory[buffers[who].stores[which].word] = buffers[who].stores[which].value;
    j = which;
    do
    :: j + 1 < buffers[who].n ->
        buffers[who].stores[j].word = buffers[who].stores[j + 1].word;
        buffers[who].stores[j].value = buffers[who].stores[j + 1].value;
        buffers[who].stores[j].behind = buffers[who].stores[j + 1].behind;
        j++
    :: else -> break
    od;
    buffers[who].n--;
    buffers[who].stores[j].word = 0;
    buffers[who].stores[j].value = 0;
    buffers[who].stores[j].behind = 0;
    j = 0
}

inline barrier(who)
{
    d_step {
        printf("barrier %d\n", who);
        do
        :: !EMPTY(1 - who) -> reach_memory(1 - who, 0)
        :: else -> break
        od
    }
}

#ifndef MEMORY_SC
/* Carries what one side stored to memory, whenever it likes. */
proctype store_buffer(byte who)
{
    byte i;
end:
    do
    :: atomic {
            !EMPTY(who) ->
#ifdef MEMORY_WEAK
            do
            :: i + 1 < buffers[who].n -> i++
            :: break
            od;
            /* Not before an earlier one of the same word; one that releases
             * not before any; the oldest always may. */
            j = 0;
            do
            :: j < i && !buffers[who].stores[i].behind &&
               buffers[who].stores[j].word != buffers[who].stores[i].word -> j++
            :: j < i && (buffers[who].stores[i].behind ||
               buffers[who].stores[j].word == buffers[who].stores[i].word) ->
                i = 0
            :: j >= i -> break
            od;
#endif
            printf("reach %d %d %d\n", who, buffers[who].stores[i].word,
                   buffers[who].stores[i].value);
            d_step { reach_memory(who, i); i = 0 }
        }
    od
}
#endif
