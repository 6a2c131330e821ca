/* SPDX-License-Identifier: Apache-2.0 */
/* What channel.c, meet.c and judge.c share: the parts of a turn.  For them
 * only. */
#ifndef CHANNEL_CHANNELPARTS_H
#define CHANNEL_CHANNELPARTS_H

#include "channel/channel.h"

/* channel.c. */

/* Takes the link down, with whatever it still held. */
void channel_end(struct mchan *);
/* An attempt came to nothing: the next is due later. */
void channel_failed(struct mchan *, nsec_t now);
/* The peer broke the protocol; nothing of its is believed any more. */
void channel_break(struct mchan *, nsec_t now, const char *why);
/* Rings: empties the socket of wakes and looks whether the peer lives: 0 or
 * -EPROTO. */
int channel_attend(struct mchan *, const char **why);
/* True if nobody is there who could say more than lies here. */
bool channel_is_gone(const struct mchan *);

/* meet.c. */

/* While apart: tries to get a link, if that is due. */
void meet_connect(struct mchan *, nsec_t now);
/* While a link has no session yet: looks for the peer's HELLO. */
void meet_peer(struct mchan *, nsec_t now);
/* Goes on without a session's memory, if it did not come in time: 0, or -EPROTO
 * if that can't be. */
int meet_give_up_handoff(struct mchan *, nsec_t now, const char **why);

/* judge.c. */

/* Judges what comes next: 1 if it is a message, for the user; 0 if there is
 * nothing; 2 if the peer said goodbye; or -EPROTO. */
int judge_next(struct mchan *, const char **why);
#endif
