/* SPDX-License-Identifier: Apache-2.0 */
/* What the qualities of a power reading are called where people read them: in
 * mctl, the journal and the figures.  Relies on nothing. */
#include "model/power.h"

#include <assert.h>

const char *
quality_name(enum quality quality)
{
    switch (quality) {
    case QUALITY_UNKNOWN:
        return "unknown";
    case QUALITY_MEASURED:
        return "measured";
    case QUALITY_MODELLED:
        return "model";
    case QUALITY_STALE:
        return "stale";
    case QUALITY_ASSUMED:
        return "assumed";
    case QUALITY_N:
        break;
    }
    assert(!"a quality without a name");
    return "";
}
