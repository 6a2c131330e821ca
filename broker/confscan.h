/* SPDX-License-Identifier: Apache-2.0 */
/* A look at a configuration's text before libconfig reads it.  For
 * broker/config.c only. */
#ifndef BROKER_CONFSCAN_H
#define BROKER_CONFSCAN_H

struct confval;

/* Refuses what libconfig would get wrong or should never see.  Returns 0 or
 * -EINVAL, said in 'at'. */
int confscan_check(const struct confval *at, const char *text);

#endif
