/* SPDX-License-Identifier: Apache-2.0 */
/* Golden files: what each message looked like on the wire when its protocol
 * version came out, NAME.cbor, and what it meant, NAME.txt.  They are made once
 * and never edited: a change that fails here breaks peers already out there.
 *
 * "golden --make" writes the files that are missing, for a new message. */
#include <assert.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/wire/fill.h"

#define TEXT_SIZE 16384

struct golden {
    unsigned type, version;
    char name[64];
};

static void
path_of(const struct golden *golden, const char *ending, char out[512])
{
    const char *top = getenv("MBROKER_SOURCE");

    snprintf(out, 512, "%s/tests/golden/v%u/%s.%s", top ? top : ".",
             golden->version, msg_name(golden->type), ending);
}

/* Returns the size read, or -errno. */
static ssize_t
read_file(const struct golden *golden, const char *ending, void *out,
          size_t size)
{
    char path[512];
    size_t used;
    FILE *file;

    path_of(golden, ending, path);
    file = fopen(path, "rb");
    if (!file) {
        return -errno;
    }
    used = fread(out, 1, size, file);
    fclose(file);
    return (ssize_t)used;
}

/* The line that a message had for people when that version was the newest. */
static void
format(const struct golden *golden, const struct msg *msg, char out[TEXT_SIZE])
{
    struct fields fields = *msg_fields(golden->type);
    struct field of_version[FIELDS_MAX];
    size_t n = 0, used;

    for (size_t i = 0; i < fields.n; i++) {
        if (fields.field[i].since <= golden->version) {
            of_version[n++] = fields.field[i];
        }
    }
    fields.field = of_version;
    fields.n = n;
    used = (size_t)snprintf(out, TEXT_SIZE, "%s ", fields.name);
    used += fields_format(&fields, &msg->hello, out + used, TEXT_SIZE - used);
    assert(used + 2 < TEXT_SIZE);
    strcpy(out + used, "\n");
}

/* Decoding gives the values written down, encoding gives the same bytes. */
static void
golden_message_is_still_understood(void **state)
{
    const struct golden *golden = *state;
    static uint8_t data[MSG_SIZE_MAX + 1], again[MSG_SIZE_MAX];
    static char text[TEXT_SIZE], wanted[TEXT_SIZE];
    ssize_t size = read_file(golden, "cbor", data, sizeof data);
    ssize_t text_size = read_file(golden, "txt", wanted, sizeof wanted - 1);
    char why[MSG_WHY_SIZE] = "";
    struct msg msg;
    int error;

    if (size < 0 || text_size < 0) {
        fail_msg("%s has no golden file in tests/golden/v%u: make it with "
                 "'golden --make'",
                 msg_name(golden->type), golden->version);
    }
    wanted[text_size] = '\0';
    error = msg_decode(&msg, golden->type, golden->version, data, (size_t)size,
                       why, sizeof why);
    assert_string_equal(why, "");
    assert_int_equal(error, 0);
    format(golden, &msg, text);
    assert_string_equal(text, wanted);
    assert_int_equal(
        msg_encode(&msg, golden->version, again, sizeof again, why, sizeof why),
        size);
    assert_memory_equal(again, data, (size_t)size);
}

/* Writes a file that must not be there yet. */
static void
write_file(const struct golden *golden, const char *ending, const void *data,
           size_t size)
{
    char path[512];
    FILE *file;

    path_of(golden, ending, path);
    file = fopen(path, "wbx");
    if (!file || fwrite(data, 1, size, file) != size || fclose(file)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        exit(1);
    }
    printf("%s\n", path);
}

static void
make(const struct golden *golden)
{
    static uint8_t data[MSG_SIZE_MAX];
    static char text[TEXT_SIZE];
    char why[MSG_WHY_SIZE];
    struct prng prng;
    struct msg msg;
    ssize_t size;

    if (read_file(golden, "cbor", data, sizeof data) >= 0) {
        return;
    }
    prng_init(&prng, golden->type);
    fill_random(&msg, golden->type, &prng);
    size =
        msg_encode(&msg, golden->version, data, sizeof data, why, sizeof why);
    if (size < 0) {
        fprintf(stderr, "%s\n", why);
        exit(1);
    }
    write_file(golden, "cbor", data, (size_t)size);
    format(golden, &msg, text);
    write_file(golden, "txt", text, strlen(text));
}

int
main(int argc, char **argv)
{
    size_t n_versions = MSG_VERSION_MAX - MSG_VERSION_MIN + 1;
    size_t n_places = fill_n_types() * n_versions, n = 0;
    struct golden *goldens = calloc(n_places, sizeof *goldens);
    struct CMUnitTest *tests = calloc(n_places, sizeof *tests);
    int failed = 0;

    if (!goldens || !tests) {
        return 1;
    }
    for (size_t i = 0; i < n_places; i++) {
        struct golden *golden = &goldens[n];

        golden->type = fill_types[i % fill_n_types()];
        golden->version = MSG_VERSION_MIN + (unsigned)(i / fill_n_types());
        if (msg_since(golden->type) > golden->version) {
            continue; /* That version had no such message. */
        }
        snprintf(golden->name, sizeof golden->name,
                 "golden_%s_of_version_%u_is_still_understood",
                 msg_name(golden->type), golden->version);
        tests[n].name = golden->name;
        tests[n].test_func = golden_message_is_still_understood;
        tests[n].initial_state = golden;
        n++;
        if (argc > 1 && !strcmp(argv[1], "--make")) {
            make(golden);
        }
    }
    if (argc == 1) {
        failed = _cmocka_run_group_tests("wire/golden", tests, n, NULL, NULL);
    }
    free(tests);
    free(goldens);
    return failed;
}
