/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the engine share, and nobody else sees:
 *   engine.c         the turn, status
 *   engine_policy.c  the policy in force, asked
 *   engine_config.c  another configuration taken
 *   engine_note.c    events into the model
 *   engine_guestnote.c  applications' own messages, among these
 *   engine_instance.c  VMs that are another instance of themselves
 *   engine_act.c     verdicts into actions, outcomes, retries
 *   engine_cap.c     the host's power cap
 *   engine_tape.c    what it was told, kept for replay
 *   engine_record.c  rows of the journal, lines for those who watch */
#ifndef BROKER_ENGINE_ENGINE_PARTS_H
#define BROKER_ENGINE_ENGINE_PARTS_H

#include "base/bucket.h"
#include "broker/config/config.h"
#include "broker/engine/arbiter.h"
#include "broker/engine/engine.h"
#include "broker/engine/jsonline.h"
#include "broker/engine/tape.h"
#include "broker/journal/journal.h"
#include "model/cause.h"
#include "model/host.h"
#include "model/name.h"
#include "policy/policy.h"
#include "wire/msg.h"

#define ENGINE_VMS_SPARE 8      /* VMs beyond those of the configuration. */
#define ENGINE_VM_ALARMS 2      /* Rows of alarms a VM may cause a second. */
#define ENGINE_OWN_ROWS_MAX 32  /* Rows of nobody's in an epoch. */
#define ENGINE_WATCH_SIZE 32768 /* Bytes of the longest line for watchers. */
#define ENGINE_VM_COMMANDS 16   /* Operations on VMs under way. */

#define ACTION_TIMEOUT_NS (2 * NSEC_PER_SEC)
#define ACTION_RETRIES 3 /* After the first try; then an alarm. */
#define ACTION_RETRY_NS (250 * NSEC_PER_MSEC)
#define ACTION_GIVEN_UP_NS (10 * NSEC_PER_SEC) /* Between tries after that. */
#define ACTION_BUSY_NS (5 * NSEC_PER_MSEC)     /* The channel was full. */
#define VM_COMMAND_TIMEOUT_NS (30 * NSEC_PER_SEC)
#define VM_COMMAND_EXPIRES_NS (5 * NSEC_PER_SEC) /* Not begun after that. */
#define CAP_TIMEOUT_NS                                                         \
    (20 * NSEC_PER_SEC)                   /* The platform's tries, and more.   \
                                           */
#define CAP_EXPIRES_NS (5 * NSEC_PER_SEC) /* An order's patience, if none. */

/* The way a domain goes from where it is to where the arbiter wants it: one
 * action at a time, each until its outcome came. */
struct engine_knob {
    bool wanted; /* What is aimed at: 'pstate', or as it was found. */
    uint32_t pstate;
    uint64_t cause;
    bool changed;     /* We asked for something since it was found. */
    bool confirmed;   /* The last outcome was what we asked for. */
    uint64_t command; /* Of the action under way; 0 if none is. */
    bool releasing;   /* That action is a RELEASE. */
    uint32_t asked;   /* Or this p-state. */
    uint64_t asked_cause;
    nsec_t sent;
    bool unrecorded;   /* Its row is still to be written. */
    uint32_t n_failed; /* Tries of what is aimed at. */
    nsec_t not_before; /* Of the next try. */
};

struct engine_vm_command {
    uint64_t command, cause;
    struct uuid vm;
    nsec_t sent;
};

/* Events of a VM that are journalled: by its quota, half a second's at once,
 * and alarms beside them.  What comes of an event (decisions, actions,
 * outcomes) is bounded by that, since an event that is not journalled leads to
 * nothing. */
struct engine_rows {
    struct bucket_terms terms;
    struct bucket rows, alarms;
};

/* The last order of a power cap. */
struct engine_cap {
    uint64_t term, order;    /* The highest that the journal knows. */
    uint64_t command, cause; /* Under way; 0 if none is. */
    nsec_t sent;
    bool known; /* The platform said how it stands. */
    /* Written down, perhaps, and not sent: its outcome is still to be. */
    uint64_t unsent_command, unsent_cause;
    int unsent_error;
    /* What an earlier start of the broker sent and saw nothing come of. */
    uint64_t left_command, left_cause;
};

/* A policy's states, made before it is put in force. */
struct engine_next {
    void *host_state;
    unsigned char *vm_states;
};

struct engine_tape {
    bool on;   /* The journal keeps inputs. */
    bool gap;  /* It did not take one: nothing is kept until the next key. */
    bool sent; /* Something was, in this turn. */
    struct journal_input block; /* What is being filled. */
    nsec_t last, keyed;         /* Of the last entry, and key. */
    struct tape_slots slots;
};

struct engine {
    const struct broker_config *config;
    const struct engine_port *port;
    struct journal *journal;
    struct host host;
    struct arbiter *arbiter;
    struct engine_counts counts;
    nsec_t started;

    const struct policy_class *policy;
    struct option_values options;
    void *host_state;
    unsigned char *vm_states; /* max_vms times vm_state_size, rounded up. */
    struct engine_next next;  /* Of the configuration that is prepared. */
    struct wish_list wishes;  /* What the policy said in this turn, */
    uint32_t n_fresh;         /* and which of it changed what stands. */
    uint32_t *fresh;

    nsec_t next_epoch;
    nsec_t tell_back; /* That VMs were renewed; NSEC_NEVER: it knows. */
    bool ready;       /* The platform is. */
    bool urgent;      /* Something came that can't wait for the epoch. */
    bool read_only;
    int journal_error; /* Of the last row; 0 if it was taken. */
    char trouble[160];

    struct engine_knob *knobs; /* One per domain of the host. */
    uint32_t *was; /* The domains' p-states before this turn's actions. */
    struct engine_cap cap;
    struct engine_vm_command vm_command[ENGINE_VM_COMMANDS];
    struct cause_counter causes;
    struct cause_counter commands;

    nsec_t accounted; /* Up to here 'pstate_time' counts. */
    nsec_t *pstate_time;
    nsec_t *pstate_time_now; /* What engine_status() lends. */

    /* Since the epoch began. */
    uint64_t epoch_requests, epoch_violations;
    uint32_t n_own_rows;
    struct engine_rows *vm_rows; /* One per place in host.vms. */

    struct engine_tape tape;

    char detail[JOURNAL_DETAIL_SIZE];
    char line[ENGINE_WATCH_SIZE];
};

/* engine.c */
/* Adds the time since it was last called to what each domain spent. */
void engine_account(struct engine *, nsec_t now);

/* engine_policy.c */
void engine_ask_policy(struct engine *, bool epoch, nsec_t now);
void engine_zero_policy_states(struct engine *);
/* The states of a policy that is right; then it is put in force, which can't
 * fail and takes them.  0 or -ENOMEM with 'why'. */
int engine_prepare_policy(const struct engine *, const struct policy_class *,
                          struct engine_next *out, char *why, size_t why_size);
void engine_take_policy(struct engine *, const struct policy_class *,
                        const struct option_values *, struct engine_next *,
                        nsec_t now);
void engine_clear_news(struct engine *);

/* engine_note.c */
/* The VM of a stamped event; null, and said, if there is none. */
struct vm *engine_speaker(struct engine *, const struct uuid *, uint64_t cause,
                          unsigned type, nsec_t now);
/* A guest's time on the MVM's clock; a lying guest's stays a time. */
nsec_t engine_mvm_time(int64_t guest_ns, int64_t offset_ns);
/* Whether a row of this VM's may be written, which then is counted: an event's,
 * or a note's, which leave half of them for others, or an alarm's, for which
 * there are some more. */
enum engine_row_kind {
    ENGINE_ROW_EVENT,
    ENGINE_ROW_NOTE,
    ENGINE_ROW_ALARM,
};
bool engine_may_record(struct engine *, struct vm *, enum engine_row_kind,
                       nsec_t now);
/* A row that had to be written whatever the quota says: it is owed. */
void engine_charge_row(struct engine *, const struct vm *, nsec_t now);
void engine_put_clock(struct jsonline *, int64_t received_ns, int64_t offset_ns,
                      uint64_t offset_error_ns);
/* A VM's own place in the tables is zeroed and it is put into the model. */
struct vm *engine_new_vm(struct engine *, const struct uuid *);
/* One that the configuration names: as it says, until somebody says otherwise.
 */
void engine_add_configured(struct engine *, const struct guest_config *);
/* It leaves the model, with all its wishes; 'cause' is the event. */
void engine_remove_vm(struct engine *, struct vm *, uint64_t cause);
/* By the configuration: how many rows a second a VM may cause. */
struct bucket_terms engine_row_terms(const struct engine *,
                                     const struct uuid *);

/* engine_instance.c */
void engine_on_instance(struct engine *, const struct msg_vm_instance *,
                        nsec_t now);
void engine_tell_back(struct engine *, nsec_t now);

/* engine_guestnote.c */
void engine_on_guest_note(struct engine *, const struct msg_guest_note *,
                          nsec_t now);
/* Before the policy is asked at an epoch's end: what came too often in it is
 * journalled now, the newest of each type. */
void engine_record_notes(struct engine *, nsec_t now);
/* Another policy is in force: to it, all that it asks for is new. */
void engine_ask_for_notes(struct engine *);
void engine_clear_note_news(struct vm *);
/* The agent that sent them is gone; or one came, perhaps the same. */
void engine_age_notes(struct vm *);
void engine_renew_notes(struct vm *, bool same_agent);

/* engine_tape.c */
int engine_tape_open(struct engine *, nsec_t now);
void engine_tape_close(struct engine *);
void engine_tape_msg(struct engine *, const struct msg *, nsec_t now);
void engine_tape_sent(struct engine *, const struct msg *, nsec_t now);
void engine_tape_policy(struct engine *, nsec_t now);
/* Before the policy is asked: after a gap, what is known is kept anew. */
void engine_tape_resume(struct engine *, nsec_t now);
/* Another configuration holds: what is known is put on it anew. */
void engine_tape_config(struct engine *, nsec_t now);
/* A turn ended; 'changed': it asked the policy, or a verdict changed. */
void engine_tape_turn(struct engine *, bool epoch, bool changed, nsec_t now);

/* engine_act.c */
/* Moves one domain towards the arbiter's verdict. */
void engine_act(struct engine *, uint32_t domain, const struct verdict *,
                nsec_t now);
void engine_on_outcome(struct engine *, const struct msg_outcome *, nsec_t now);
/* The platform found the domain anew: what was under way is void. */
void engine_forget_action(struct engine *, uint32_t domain);
nsec_t engine_act_deadline(const struct engine *);
void engine_record_outcome(struct engine *, const struct msg_outcome *,
                           const char *subject, nsec_t now);
int engine_send_vm_command(struct engine *, const struct uuid *, enum vm_op,
                           const char *to, uint64_t cause, nsec_t now,
                           char *why, size_t why_size);
/* engine_cap.c */
/* Takes up what the journal says was ordered last. */
void engine_recall_cap(struct engine *);
void engine_on_cap(struct engine *, const struct msg_cap *, nsec_t now);
/* True if it was an order's. */
bool engine_on_cap_outcome(struct engine *, const struct msg_outcome *,
                           nsec_t now);
void engine_run_cap(struct engine *, nsec_t now);
nsec_t engine_cap_deadline(const struct engine *);
/* Rows are taken again: what is owed is written. */
void engine_cap_journal_back(struct engine *, nsec_t now);
/* A sensor that says nothing leaves the budget to assume. */
void engine_assume_power(const struct engine *, struct power_reading *,
                         nsec_t now);

/* engine_record.c: 'detail' is begun by engine_detail() and ended by the call.
 */
void engine_detail(struct engine *, struct jsonline *);
void engine_record(struct engine *, enum journal_kind, uint64_t cause,
                   uint64_t command, const char *subject, const char *name,
                   struct jsonline *detail, nsec_t now);
/* An event that only says something in words; counted as trouble if 'trouble'.
 * At most ENGINE_OWN_ROWS_MAX an epoch. */
void engine_record_words(struct engine *, const char *name, uint64_t cause,
                         bool trouble, const char *where, const char *words,
                         nsec_t now);
/* A wish that no event told of led to: the look at utilization is the event. */
uint64_t engine_record_look(struct engine *, const struct wish *, nsec_t now);
void engine_record_decisions(struct engine *, const struct verdict *,
                             uint32_t n_verdicts, const uint32_t *was,
                             nsec_t now);
void engine_record_action(struct engine *, uint32_t domain);
void engine_watch_epoch(struct engine *, nsec_t now);
void engine_subject_vm(const struct engine *, const struct uuid *,
                       enum name_kind, char out[NAME_TEXT_SIZE]);
void engine_subject_domain(const struct engine *, uint32_t domain,
                           char out[NAME_TEXT_SIZE]);
void engine_subject_broker(const struct engine *, char out[NAME_TEXT_SIZE]);
void engine_trouble(struct engine *, const char *where, const char *reason);

#endif
