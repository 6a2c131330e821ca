/* SPDX-License-Identifier: Apache-2.0 */
/* The straight path of one cause, as a list of hops with a time each, made from
 * its rows in the journal.  A pure function from JSON to JSON. */
#ifndef BROKER_CONTROL_TRACE_H
#define BROKER_CONTROL_TRACE_H

#include <jansson.h>

/* 'rows' (borrowed) are rows as show_row() makes them, oldest first.  Returns
 * an array owned by the caller of {"hop", "where", "at_ns", "error_ns",
 * "text"}: at_ns is on the MVM's clock, null where nobody knows; error_ns is
 * how far a guest's time may be off, 0 for the MVM's own. */
json_t *trace_hops(const json_t *rows);

#endif
