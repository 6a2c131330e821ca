/* SPDX-License-Identifier: Apache-2.0 */
/* A configuration's text to libconfig's tree, looked at before libconfig reads
 * it.  For broker/config/ and for msim's scenarios. */
#ifndef BROKER_CONFIG_CONFSCAN_H
#define BROKER_CONFIG_CONFSCAN_H

struct config_t;
struct confval;

/* Refuses what libconfig would get wrong or should never see, then parses.  The
 * tree is the caller's to destroy.  Returns 0, -ENOMEM or -EINVAL, said in
 * 'at'; on failure there is no tree. */
int confscan_read(const struct confval *at, const char *text,
                  struct config_t *tree);

#endif
