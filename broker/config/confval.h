/* SPDX-License-Identifier: Apache-2.0 */
/* Typed values out of libconfig's tree, each refusal naming its line.  For
 * broker/config/ and for msim's scenarios. */
#ifndef BROKER_CONFIG_CONFVAL_H
#define BROKER_CONFIG_CONFVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"

struct confscan_at;
struct config_setting_t;
struct option_values;

/* What may stand in a group, and where its value goes. */
enum field_kind {
    FIELD_NAME,   /* text_is_name, into char[VM_NAME_SIZE]. */
    FIELD_PATH,   /* Absolute, into char[CONFIG_PATH_SIZE]. */
    FIELD_TEXT,   /* Not empty, into char[CONFIG_COMMAND_SIZE]. */
    FIELD_BOOL,   /* Into bool. */
    FIELD_U32,    /* Into uint32_t. */
    FIELD_U64,    /* Times 'scale', into uint64_t. */
    FIELD_MS,     /* Milliseconds, into nsec_t. */
    FIELD_S,      /* Seconds, also with a fraction, into nsec_t. */
    FIELD_REAL,   /* Also with a fraction, into double. */
    FIELD_GROUP,  /* A group of 'fields'. */
    FIELD_CUSTOM, /* By 'read'. */
};

struct field {
    const char *name; /* Null ends an array of these. */
    enum field_kind kind;
    size_t offset;    /* Of the value in the struct that is filled. */
    int64_t min, max; /* For numbers, both included. */
    uint64_t scale;
    const struct field *fields;
    int (*read)(const struct confscan_at *, const struct config_setting_t *,
                void *object);
};

/* Writes "PATH:LINE: ..." with the setting's line and returns -EINVAL. */
__attribute__((format(printf, 3, 4))) int
confval_refuse(const struct confscan_at *, const struct config_setting_t *,
               const char *format, ...);

/* Reads all members of a group into 'object'; one that no field names is
 * refused, with the nearest name that is. */
int confval_group(const struct confscan_at *, const struct config_setting_t *,
                  const struct field *, void *object);

/* The text of a setting in '*out', borrowed from the tree. */
int confval_text(const struct confscan_at *, const struct config_setting_t *,
                 const char **out);
int confval_int(const struct confscan_at *, const struct config_setting_t *,
                int64_t min, int64_t max, int64_t *out);
int confval_real(const struct confscan_at *, const struct config_setting_t *,
                 double min, double max, double *out);
/* A list of CPU numbers, [0, 1] or "0-1", each at most once if 'distinct'. */
int confval_cpus(const struct confscan_at *, const struct config_setting_t *,
                 bool distinct, uint32_t *out, size_t max, uint32_t *n_out);
/* Every member but 'except' is an option of a plug-in's. */
int confval_options(const struct confscan_at *, const struct config_setting_t *,
                    const char *except, struct option_values *);
/* The member of a group that names a plug-in. */
int confval_plugin(const struct confscan_at *, const struct config_setting_t *,
                   const char *member, const char **out);

/* The nearest of 'names' (ended by null) to 'name', null if none is near. */
const char *confval_nearest(const char *name, const char *const *names);

#endif
