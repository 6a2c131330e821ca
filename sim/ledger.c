/* SPDX-License-Identifier: Apache-2.0 */
/* The oracle of ledger.h.  Its rules, whatever happens:
 *   - a message is given out unflagged at most once, over all ears together;
 *   - an ear hears what one speaker said in order, but for what is flagged;
 *   - its number is the one that it was accepted with, in that session;
 *   - one that was never given out was told of: DROPPED to who sent it or had
 *     taken it over, or GAP to who should have had it.
 * Called by moves.c. */
#include "sim/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC UINT32_C(0x65746f6e)
#define VMS_MAX 4

struct line {
    struct ledger_note note;
    uint64_t session, sequence;
    uint32_t attachment;
    uint32_t n_plain, n_flagged;
    uint32_t ear; /* Whom it was given to, unflagged. */
    bool told;
};

/* A GAP without an end. */
struct cut {
    uint64_t session, from;
    uint32_t attachment;
};

struct ledger {
    size_t n_lines, n_max;
    struct line *lines;
    size_t n_cuts, n_cuts_max;
    struct cut *cuts;
    bool gone[LEDGER_SPEAKERS_MAX];
    uint32_t n_sessions;
    struct {
        uint64_t id;
        uint16_t guest; /* The last that was in it. */
    } sessions[LEDGER_SESSIONS_MAX];
    /* The last serial that an ear heard of a speaker, unflagged. */
    uint32_t heard[LEDGER_EARS_MAX][LEDGER_SPEAKERS_MAX];
    /* Where the lines of a speaker are: of serial 1, then each next one's. */
    uint32_t *index[LEDGER_SPEAKERS_MAX][VMS_MAX];
    uint32_t n_index[LEDGER_SPEAKERS_MAX][VMS_MAX];
    struct ledger_counts counts;
    char why[LEDGER_WHY_SIZE];
};

int
ledger_create(struct ledger **out)
{
    *out = calloc(1, sizeof **out);
    return *out ? 0 : -ENOMEM;
}

void
ledger_destroy(struct ledger *ledger)
{
    if (!ledger) {
        return;
    }
    for (int i = 0; i < LEDGER_SPEAKERS_MAX; i++) {
        for (int j = 0; j < VMS_MAX; j++) {
            free(ledger->index[i][j]);
        }
    }
    free(ledger->lines);
    free(ledger->cuts);
    free(ledger);
}

void
ledger_write(uint8_t out[LEDGER_NOTE_SIZE], const struct ledger_note *note)
{
    const uint32_t words[4] = {MAGIC ^ note->serial,
                               note->vm | (uint32_t)note->speaker << 16,
                               note->serial, note->from_guest};
    memcpy(out, words, sizeof words);
}

bool
ledger_read(const void *data, size_t size, struct ledger_note *out)
{
    uint32_t words[4];
    if (size < sizeof words) {
        return false;
    }
    memcpy(words, data, sizeof words);
    if (words[0] != (MAGIC ^ words[2]) || words[3] > 1) {
        return false;
    }
    out->vm = (uint16_t)words[1];
    out->speaker = (uint16_t)(words[1] >> 16);
    out->serial = words[2];
    out->from_guest = words[3];
    return out->vm < VMS_MAX && out->speaker < LEDGER_SPEAKERS_MAX;
}

__attribute__((format(printf, 3, 4))) static void
accuse(struct ledger *ledger, const struct line *line, const char *format, ...)
{
    va_list args;
    if (ledger->why[0]) {
        return;
    }
    int used = snprintf(ledger->why, sizeof ledger->why,
                        "vm %u, message %" PRIu32 " of %s %u (%" PRIu64
                        " of session %" PRIx64 "): ",
                        line->note.vm, line->note.serial,
                        line->note.from_guest ? "guest" : "broker",
                        line->note.speaker, line->sequence, line->session);
    va_start(args, format);
    vsnprintf(ledger->why + used, sizeof ledger->why - (size_t)used, format,
              args);
    va_end(args);
}

static bool
grow(void *array, size_t size)
{
    void *bigger = realloc(*(void **)array, size);
    if (bigger) {
        *(void **)array = bigger;
    }
    return bigger;
}

void
ledger_sent(struct ledger *ledger, const struct ledger_note *note,
            uint64_t session, uint64_t sequence, uint32_t attachment)
{
    uint32_t **index = &ledger->index[note->speaker][note->vm];
    uint32_t *n_index = &ledger->n_index[note->speaker][note->vm];
    if (ledger->n_lines == ledger->n_max) {
        size_t n = ledger->n_max ? 2 * ledger->n_max : 1024;
        if (!grow(&ledger->lines, n * sizeof *ledger->lines)) {
            abort();
        }
        ledger->n_max = n;
    }
    if (!(*n_index & (*n_index - 1))) { /* A power of two is full. */
        size_t n = *n_index ? 2 * (size_t)*n_index : 1;
        if (!grow(index, n * sizeof **index)) {
            abort();
        }
    }
    if (note->serial != *n_index + 1) {
        abort(); /* The simulation's own error. */
    }
    (*index)[(*n_index)++] = (uint32_t)ledger->n_lines;
    ledger->lines[ledger->n_lines++] = (struct line){.note = *note,
                                                     .session = session,
                                                     .sequence = sequence,
                                                     .attachment = attachment};
    ledger->counts.n_sent++;
}

static struct line *
find(struct ledger *ledger, const struct ledger_note *note)
{
    if (!note->serial ||
        note->serial > ledger->n_index[note->speaker][note->vm]) {
        return NULL;
    }
    return &ledger->lines[ledger->index[note->speaker][note->vm]
                                       [note->serial - 1]];
}

/* It was given to a guest that never got it, as far as that remembers. */
static bool
set_back(const struct ledger *ledger, const struct line *line)
{
    return !line->note.from_guest && ledger->gone[line->ear];
}

static void
judge_plain(struct ledger *ledger, struct line *line, uint32_t ear,
            uint64_t session, uint64_t sequence)
{
    uint32_t *heard = &ledger->heard[ear][line->note.speaker];
    if (line->n_plain && !set_back(ledger, line)) {
        accuse(ledger, line, "given out twice, unflagged; now to ear %" PRIu32,
               ear);
    }
    if (line->note.serial <= *heard) {
        accuse(ledger, line, "ear %" PRIu32 " heard it behind message %" PRIu32,
               ear, *heard);
    }
    if (session != line->session || sequence != line->sequence) {
        accuse(ledger, line, "given out as %" PRIu64 " of %" PRIx64, sequence,
               session);
    }
    *heard = line->note.serial;
    line->ear = ear;
    line->n_plain++;
}

void
ledger_given(struct ledger *ledger, const struct ledger_note *note,
             uint32_t ear, uint64_t session, uint64_t sequence,
             bool maybe_repeated)
{
    struct line *line = find(ledger, note);
    if (!line) {
        snprintf(ledger->why, sizeof ledger->why,
                 "message %" PRIu32 " of %u was never sent", note->serial,
                 note->speaker);
        return;
    }
    ledger->counts.n_given++;
    if (maybe_repeated) {
        ledger->counts.n_repeated++;
        line->n_flagged++;
        return;
    }
    judge_plain(ledger, line, ear, session, sequence);
}

void
ledger_told(struct ledger *ledger, bool from_guest, uint64_t session,
            uint64_t from, uint64_t to)
{
    ledger->counts.n_told++;
    for (size_t i = 0; i < ledger->n_lines; i++) {
        struct line *line = &ledger->lines[i];
        line->told |= line->note.from_guest == from_guest &&
                      line->session == session && line->sequence >= from &&
                      line->sequence <= to;
    }
}

void
ledger_cut(struct ledger *ledger, uint64_t session, uint64_t from,
           uint32_t attachment)
{
    ledger_told(ledger, false, session, from, UINT64_MAX);
    if (ledger->n_cuts == ledger->n_cuts_max) {
        size_t n = ledger->n_cuts_max ? 2 * ledger->n_cuts_max : 16;
        if (!grow(&ledger->cuts, n * sizeof *ledger->cuts)) {
            abort();
        }
        ledger->n_cuts_max = n;
    }
    ledger->cuts[ledger->n_cuts++] = (struct cut){
        .session = session, .from = from, .attachment = attachment};
}

static bool
is_told(const struct ledger *ledger, const struct line *line)
{
    bool told = line->told;
    for (size_t i = 0; i < ledger->n_cuts && !told; i++) {
        const struct cut *cut = &ledger->cuts[i];
        told = !line->note.from_guest && line->session == cut->session &&
               line->sequence >= cut->from &&
               line->attachment < cut->attachment;
    }
    return told;
}

void
ledger_joined(struct ledger *ledger, uint16_t guest, uint64_t session)
{
    uint32_t i = 0;
    while (i < ledger->n_sessions && ledger->sessions[i].id != session) {
        i++;
    }
    if (i == LEDGER_SESSIONS_MAX) {
        abort();
    }
    ledger->n_sessions += i == ledger->n_sessions;
    ledger->sessions[i].id = session;
    ledger->sessions[i].guest = guest;
}

/* Who should have said or got it is no more, or never was in that session. */
static bool
is_gone(const struct ledger *ledger, const struct line *line)
{
    if (line->note.from_guest) {
        return ledger->gone[line->note.speaker];
    }
    for (uint32_t i = 0; i < ledger->n_sessions; i++) {
        if (ledger->sessions[i].id == line->session) {
            return ledger->gone[ledger->sessions[i].guest];
        }
    }
    return true;
}

void
ledger_gone(struct ledger *ledger, uint16_t speaker)
{
    ledger->gone[speaker] = true;
}

const char *
ledger_why(const struct ledger *ledger)
{
    return ledger->why;
}

bool
ledger_balances(struct ledger *ledger)
{
    for (size_t i = 0; i < ledger->n_lines && !ledger->why[0]; i++) {
        const struct line *line = &ledger->lines[i];
        if (!line->n_plain && !line->n_flagged && !is_told(ledger, line) &&
            !is_gone(ledger, line)) {
            accuse(ledger, line, "never given out, and nobody was told");
        }
    }
    return !ledger->why[0];
}

void
ledger_counts(const struct ledger *ledger, struct ledger_counts *out)
{
    *out = ledger->counts;
}
