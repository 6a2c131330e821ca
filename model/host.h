/* SPDX-License-Identifier: Apache-2.0 */
/* What one host knows of itself at a moment: its CPUs, frequency domains, VMs
 * and power.  The engine writes it as events come; policies see it through a
 * platform_view and only read.  Tables are made once, with the sizes the
 * configuration gave, and do not grow. */
#ifndef MODEL_HOST_H
#define MODEL_HOST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "model/cap.h"
#include "model/note.h"
#include "model/power.h"
#include "model/pstate.h"
#include "model/uuid.h"

#define VM_NAME_SIZE 65
#define VM_VCPUS_MAX 16
#define VM_OFFERS_MAX 16
#define VM_EPOCHS_KEPT 16 /* Epoch reports kept per VM, newest last. */
#define UTIL_UNKNOWN UINT32_MAX

struct cpu {
    uint32_t id;     /* The kernel's number. */
    uint32_t domain; /* Index into host.domains; UINT32_MAX if none. */
    /* Busy time and time available at the current p-state, both since the
     * broker started; their growth over any interval is the utilization then.
     * Steal and emulation are neither busy nor available. */
    uint64_t busy_ns, available_ns;
    uint32_t util_permille; /* Of the last sample; UTIL_UNKNOWN if none. */
};

struct domain {
    struct pstate_domain desc;
    uint32_t pstate;       /* As last read back. */
    uint32_t found_pstate; /* Before our first change. */
    bool known;            /* 'pstate' was ever read. */
};

enum vm_state {
    VM_RUNNING,
    VM_FROZEN,
    VM_ENDED,
    VM_MOVING, /* Runs, and is on its way to another host. */
    /* Stopped here; whether it runs on the other host is not known.  Nobody may
     * let it go on, or end it, before that is proved. */
    VM_UNSURE,
    VM_LEFT, /* It arrived: runs on another host, and not here. */
};

/* What can be done to a VM. */
enum vm_op {
    VM_OP_START,
    VM_OP_FREEZE,
    VM_OP_THAW,
    VM_OP_END, /* Asked first, killed after a grace the driver documents. */
    VM_OP_MIGRATE,
};

/* What a guest's agent said of one epoch.  Times are on the MVM's clock,
 * converted by the channel's beats. */
struct sla_epoch {
    uint64_t number; /* The agent's count of epochs. */
    nsec_t start, end;
    uint64_t n_requests, n_violations;
    uint64_t threshold_us, worst_us;
    uint64_t cause;
};

/* What is new about a VM since the last turn. */
enum vm_news {
    VM_NEWS_NOTICE = 1 << 0, /* An SLA notice came; see 'notice'. */
    VM_NEWS_REPORT = 1 << 1, /* 'epochs' has a new last member. */
    VM_NEWS_SAMPLE = 1 << 2, /* 'busy_ns' and 'available_ns' moved. */
    VM_NEWS_UP = 1 << 3,     /* Its agent came. */
    VM_NEWS_LOST = 1 << 4,   /* Its agent went. */
    VM_NEWS_NOTE = 1 << 5,   /* A note that the policy asked for came. */
};

/* What it used of the broker since that started; of its quota. */
struct vm_usage {
    uint64_t n_messages, n_bytes; /* Heard. */
    uint64_t n_dropped, n_denied; /* Beyond its quota: telemetry, requests. */
    uint64_t n_refused;           /* Made no sense. */
    uint64_t n_waits;             /* It was made to wait in its channel. */
    uint64_t memory_bytes;
    uint64_t n_rows_withheld; /* Of the journal, since it caused too many. */
};

struct vm {
    struct uuid uuid;
    char name[VM_NAME_SIZE];
    enum vm_state state;
    uint64_t instance;     /* Another, if it was reset, reverted or cloned, */
    nsec_t instance_since; /* then.  0: the hypervisor does not tell. */
    bool renewal_untold;   /* Its channel does not know that yet. */
    bool agent_up;
    uint64_t agent_cause; /* Of the event that last changed agent_up. */
    char software[65];    /* Its agent's program; "" if none ever came. */
    uint32_t n_offers;    /* The agent's probes. */
    char offers[VM_OFFERS_MAX][33];
    uint32_t news; /* enum vm_news, or-ed. */
    uint32_t n_vcpus;
    uint32_t vcpu_cpu[VM_VCPUS_MAX]; /* CPU number each vCPU runs on. */
    /* As struct cpu's, for all its vCPUs together, as the MVM sees it. */
    uint64_t busy_ns, available_ns;
    uint32_t util_permille;
    nsec_t sample_time;
    uint32_t n_epochs; /* Valid members of 'epochs'. */
    struct sla_epoch epochs[VM_EPOCHS_KEPT];
    struct sla_epoch notice;           /* The last violation notice. */
    uint64_t n_requests, n_violations; /* Since the broker started. */
    struct vm_usage usage;
    void *policy_state;  /* vm_state_size bytes, the current policy's. */
    struct notes *notes; /* What its applications said; see vm_note(). */
};

struct host {
    char id[VM_NAME_SIZE];
    uint32_t n_cpus, n_domains, n_vms;
    uint32_t max_cpus, max_domains, max_vms;
    struct cpu *cpus;
    struct domain *domains;
    struct vm *vms;
    struct power_reading power;
    struct power_cap cap;
    struct notes *notes; /* One for each place in 'vms'; vm->notes is whose. */
    uint8_t *note_bytes;
};

/* Makes a host with room for that many; returns 0 or -ENOMEM. */
int host_init(struct host *, uint32_t max_cpus, uint32_t max_domains,
              uint32_t max_vms);
void host_fini(struct host *);

/* The member with that number or UUID; null if there is none. */
struct cpu *host_cpu(const struct host *, uint32_t id);
struct vm *host_vm(const struct host *, const struct uuid *);
struct vm *host_vm_by_name(const struct host *, const char *name);
/* The domain of a CPU number; null if its frequency can't be set. */
struct domain *host_domain_of_cpu(const struct host *, uint32_t cpu);
/* The slowest p-state any of a VM's vCPUs can have where they run; 0 if none
 * of their CPUs has a frequency that can be set. */
uint32_t host_slowest_pstate(const struct host *, const struct vm *);

/* The newest note of that type from a VM; null if none came. */
const struct note *vm_note(const struct vm *, const char *type);

/* Adds a VM, without notes; null if the table is full.  The caller fills it in
 * and zeroes what policy_state points to: the place in the table keeps its
 * pointer. */
struct vm *host_add_vm(struct host *, const struct uuid *);
/* Removes a VM; those behind it move up, so pointers to VMs end here. */
void host_remove_vm(struct host *, struct vm *);

/* As people read them: "start", "freeze", ...; "running", "frozen", ... */
const char *vm_op_name(enum vm_op);
const char *vm_state_name(enum vm_state);
/* Whether a VM in that state uses CPU time here. */
bool vm_state_runs(enum vm_state);

#endif
