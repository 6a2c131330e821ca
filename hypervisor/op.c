/* SPDX-License-Identifier: Apache-2.0 */
/* What the operations on a VM are called where people read them: in the journal
 * and in answers to mctl.  Called by the engine, the control socket and sim.c.
 */
#include "hypervisor/hypervisor.h"

#include <assert.h>

const char *
vm_op_name(enum vm_op op)
{
    switch (op) {
    case VM_OP_START:
        return "start";
    case VM_OP_FREEZE:
        return "freeze";
    case VM_OP_THAW:
        return "thaw";
    case VM_OP_END:
        return "end";
    }
    assert(!"an operation without a name");
    return "";
}
