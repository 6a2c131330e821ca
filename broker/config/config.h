/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration of mbrokerd: one libconfig file, parsed and checked as a
 * whole before anything starts.  The parent hands the text to its children,
 * which parse it again, so that all see the same. */
#ifndef BROKER_CONFIG_CONFIG_H
#define BROKER_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/option.h"
#include "hypervisor/hypervisor.h"
#include "model/host.h"

struct hardware_class;
struct hypervisor_class;
struct policy_class;

#define CONFIG_CPUS_MAX 256
#define CONFIG_GUESTS_MAX 1024
#define CONFIG_GUESTS_SPARE 16 /* Room for more, if it isn't said. */
#define CONFIG_PATH_SIZE 256
#define CONFIG_COMMAND_SIZE 1024
#define CONFIG_WHY_SIZE 256
#define CONFIG_SOCKET_PATH_MAX 107 /* What the kernel allows. */
#define CONFIG_RUN_DIR_MAX 90      /* Leaves room for a socket's name. */

/* What a VM may use of the broker; of a guest, 0: as the broker's. */
struct quota_config {
    uint32_t messages_per_second; /* And as many at once. */
    uint32_t bytes_per_second;    /* Likewise, of these messages. */
    uint32_t rows_per_second;     /* Events of its in the journal. */
    uint64_t memory;              /* Bytes of telemetry that may wait. */
};

struct guest_config {
    struct uuid uuid; /* Given, or made from host and name. */
    char name[VM_NAME_SIZE];
    char channel[CONFIG_PATH_SIZE]; /* mchan URI; default below run_dir. */
    uint32_t n_vcpus;
    uint32_t vcpu_cpu[VM_VCPUS_MAX];
    char command[CONFIG_COMMAND_SIZE]; /* "" if we don't start it. */
    char pid_file[CONFIG_PATH_SIZE];   /* "" if none. */
    /* Whose the channel's socket is: names or numbers; "": the broker's own. */
    char owner[VM_NAME_SIZE], group[VM_NAME_SIZE];
    uint32_t mode; /* Of the socket, as for chmod(); 0: 0600. */
    struct quota_config quota;
};

/* Processes that have a user of their own. */
#define CONFIG_USERS_N 3

struct broker_config {
    char domain[VM_NAME_SIZE];  /* Of mgmt:// names; default "local". */
    char host_id[VM_NAME_SIZE]; /* Default: from machine-id. */
    char run_dir[CONFIG_PATH_SIZE];
    char state_dir[CONFIG_PATH_SIZE];
    char data_dir[CONFIG_PATH_SIZE];
    char sys_dir[CONFIG_PATH_SIZE];  /* What stands for /sys. */
    char proc_dir[CONFIG_PATH_SIZE]; /* What stands for /proc. */

    uint32_t n_cpus; /* 0: manages none, observes only. */
    uint32_t cpus[CONFIG_CPUS_MAX];
    uint32_t n_guests;
    uint32_t guests_max; /* Room in the tables, for what a reload adds. */
    struct guest_config *guests; /* Owned. */

    const struct policy_class *policy;
    struct option_values policy_options;
    const struct hypervisor_class *hypervisor; /* Null: none. */
    struct option_values hypervisor_options;
    const struct hardware_class *pstate; /* Null: no control. */
    struct option_values pstate_options;
    const struct hardware_class *power; /* Null: no readings. */
    struct option_values power_options;
    const struct hardware_class *cap; /* Null: nobody limits power. */
    struct option_values cap_options;

    nsec_t epoch_ns;  /* Default 500 ms. */
    nsec_t sample_ns; /* Of CPUs, VMs and power; default 250 ms. */
    nsec_t beat_ns;   /* Default 1 s; a guest is lost after 3. */
    nsec_t dwell_ns;  /* Least time between lowerings of a domain; default 0. */

    struct quota_config quota; /* Of each VM. */

    /* limits */
    uint32_t pstate_min, pstate_max; /* What may be asked for; 0 and 15. */
    uint32_t writes_per_second_max;  /* Per domain; default 100. */

    /* budget; for 'cap' only */
    uint64_t budget_max_mw;  /* What the host may be allowed at most. */
    uint64_t budget_safe_mw; /* What it is held to when nobody decides. */
    nsec_t cap_lease_ns;     /* Of an order that names none; 60 s. */

    /* control */
    char control_group[VM_NAME_SIZE];  /* May read; "" root and our uid only. */
    char operator_group[VM_NAME_SIZE]; /* May change. */

    /* sandbox: what the processes give up at their start. */
    bool sandbox_users, sandbox_root, sandbox_seccomp; /* Default true. */
    bool sandbox_required; /* Whether to start with less; default false. */
    /* Of back, engine, platform: names or numbers; "": mbroker-NAME if there is
     * one, else a number. */
    char users[CONFIG_USERS_N][VM_NAME_SIZE];

    /* journal */
    uint64_t journal_size_max;   /* Bytes; default 128 MiB. */
    uint64_t journal_inputs_max; /* Of these, for replay; default 56 MiB. */
    uint64_t journal_age_max_s;  /* Default 30 days. */

    bool end_guests; /* On stop, end the guests we started; default false. */
    uint64_t seed;   /* For sim drivers; default 1. */
};

/* The configuration of a broker without a file: observes, changes nothing. */
int config_default(struct broker_config *out, char *why, size_t why_size);

/* Parses 'text' (from 'path', for messages only) over the defaults.  Returns 0,
 * -ENOMEM or -EINVAL with 'why' = "PATH:LINE: what is wrong, and what would be
 * right".  Unknown names are errors.  '*out' is untouched on failure. */
int config_parse(struct broker_config *out, const char *text, const char *path,
                 char *why, size_t why_size);
void config_fini(struct broker_config *);

/* Whether a CPU is one of those to manage; the guest of that UUID, or null. */
bool config_has_cpu(const struct broker_config *, uint32_t cpu);
/* How many guests there must be room for; more than guests_max only in a
 * configuration made by hand. */
uint32_t config_guest_places(const struct broker_config *);
const struct guest_config *config_guest(const struct broker_config *,
                                        const struct uuid *);

/* The quota of a guest of it, or (null) of any other VM: what is 0 there is the
 * broker's, and what is 0 there too the default. */
struct quota_config config_quota(const struct broker_config *,
                                 const struct guest_config *);

/* Reads the file at 'path' (null: no file, all defaults) into '*text_out',
 * which the caller frees.  A file that is too long, has NUL bytes or isn't a
 * regular file is refused.  If it gives no host_id, the machine's is added at
 * its end, so that children in an empty root parse the same.  Returns 0 or
 * -Exxx with 'why'. */
int config_load_text(char **text_out, const char *path, char *why,
                     size_t why_size);

/* Whether this machine has the CPUs that a text names, if its drivers are not
 * simulated.  For the parent and --check; 'sys_dirfd' is the root that stands
 * for /sys.  Returns 0 or -EINVAL with 'why' as config_parse(). */
int config_check_machine(const char *text, const char *path, int sys_dirfd,
                         char *why, size_t why_size);

/* The CRC-32 of a text that config_load_text() read, as crc32(1) has it of the
 * file. */
#define CONFIG_HASH_SIZE 9
void config_hash(const char *text, char out[CONFIG_HASH_SIZE]);

/* The default of host_id: from /etc/machine-id, else the host's name, else
 * "host". */
void config_machine_id(char out[VM_NAME_SIZE]);

#endif
