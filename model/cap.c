/* SPDX-License-Identifier: Apache-2.0 */
/* The fence that keeps two deciders apart, asked by the engine, which answers
 * people, and by the platform, which trusts nobody; and what the phases of a
 * cap are called.  Relies on nothing. */
#include "model/cap.h"

#include <assert.h>
#include <errno.h>

int
cap_fence(uint64_t last_term, uint64_t last_order, uint64_t term,
          uint64_t order)
{
    if (term < last_term) {
        return -ESTALE;
    }
    return term == last_term && order <= last_order ? -EALREADY : 0;
}

const char *
cap_phase_name(enum cap_phase phase)
{
    switch (phase) {
    case CAP_NONE:
        return "none";
    case CAP_SETTLING:
        return "settling";
    case CAP_CONFIRMED:
        return "confirmed";
    case CAP_CLAMPED:
        return "clamped";
    case CAP_PHASE_N:
        break;
    }
    assert(!"a phase without a name");
    return "";
}
