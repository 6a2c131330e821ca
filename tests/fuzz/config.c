/* SPDX-License-Identifier: Apache-2.0 */
/* Fuzz target for broker/config/config.c, over the plug-ins of this build: the
 * input is a configuration's text.  What is accepted keeps the promises the
 * broker builds on; what is refused names a line and leaves the output alone.
 */
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "broker/config/config.h"

static void check_accepted(const struct broker_config *config);

/* libconfig 1.5 leaks the texts it has read when it then refuses the file. */
const char *__lsan_default_suppressions(void);

const char *
__lsan_default_suppressions(void)
{
    return "leak:libconfig";
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct broker_config config, before; /* Large. */
    char why[CONFIG_WHY_SIZE] = "";
    char *text = malloc(size + 1);

    if (!text) {
        return 0;
    }
    memcpy(text, data, size);
    text[size] = '\0';
    memset(&before, 0x5a, sizeof before);
    config = before;
    if (!config_parse(&config, text, "fuzz", why, sizeof why)) {
        check_accepted(&config);
        config_fini(&config);
    } else if (strncmp(why, "fuzz:", 5) != 0 ||
               memcmp(&config, &before, sizeof config) != 0) {
        abort();
    }
    free(text);
    return 0;
}

static void
check_accepted(const struct broker_config *config)
{
    if (!config->policy || config->n_cpus > CONFIG_CPUS_MAX ||
        config->n_guests > CONFIG_GUESTS_MAX || config->epoch_ns <= 0 ||
        config->sample_ns <= 0 || config->beat_ns <= 0 ||
        config->pstate_min > config->pstate_max ||
        !text_is_name(config->domain) || !text_is_name(config->host_id) ||
        config->run_dir[0] != '/') {
        abort();
    }
    for (uint32_t i = 0; i < config->n_guests; i++) {
        const struct guest_config *guest = &config->guests[i];

        if (!text_is_name(guest->name) || guest->n_vcpus < 1 ||
            guest->n_vcpus > VM_VCPUS_MAX || uuid_is_zero(&guest->uuid) ||
            !strchr(guest->channel, ':')) {
            abort();
        }
    }
}
