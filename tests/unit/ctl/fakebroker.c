/* SPDX-License-Identifier: Apache-2.0 */
/* Listens in a directory of its own, in a thread, for as many connections as
 * there are answers.  Called by client.c and verbs.c. */
#include "tests/unit/ctl/fakebroker.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define WORDS_MAX 16

struct fake {
    int listener;
    const char *const *answers;
    struct fake_run *run;
};

static struct fake_run last;

static void
say(int fd, const char *text, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, text, size, MSG_NOSIGNAL);

        if (sent <= 0) {
            return;
        }
        text += sent;
        size -= (size_t)sent;
    }
}

/* A line that is longer than any answer. */
static void
say_without_end(int fd)
{
    static char text[65536];

    memset(text, ' ', sizeof text);
    for (int i = 0; i < 64; i++) {
        say(fd, text, sizeof text);
    }
}

static void
serve(int fd, const char *answer, char *request)
{
    size_t n = 0;

    if (!strcmp(answer, FAKE_CLOSES)) {
        return;
    }
    while (n + 1 < FAKE_REQUEST_SIZE && strcmp(answer, FAKE_DEAF) != 0) {
        if (recv(fd, request + n, 1, 0) <= 0 || request[n] == '\n') {
            break;
        }
        n++;
    }
    request[n] = '\0';
    if (!strcmp(answer, FAKE_HUGE)) {
        say_without_end(fd);
    } else if (answer[0] != '\1') {
        say(fd, answer, strlen(answer));
    }
}

static void *
serve_all(void *fake_)
{
    struct fake *fake = fake_;

    for (size_t i = 0; fake->answers[i]; i++) {
        int fd = accept(fake->listener, NULL, NULL);

        if (fd < 0) {
            break; /* Nobody comes any more. */
        }
        serve(fd, fake->answers[i], fake->run->requests[i]);
        fake->run->n_requests++;
        close(fd);
    }
    /* Who comes once more finds nobody. */
    shutdown(fake->listener, SHUT_RDWR);
    return NULL;
}

static int
listen_in(const char *dir)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "%s/control.sock", dir);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, FAKE_ANSWERS_MAX), 0);
    return fd;
}

static void
run_verb(const struct verb *verb, const char *words, struct ctl *ctl)
{
    char *text = strdup(words), *argv[WORDS_MAX + 1] = {NULL};
    size_t out_size, err_size;
    int argc = 0;

    fake_forget();
    ctl->out = open_memstream(&last.out, &out_size);
    ctl->err = open_memstream(&last.err, &err_size);
    for (char *word = strtok(text, " "); word; word = strtok(NULL, " ")) {
        assert_true(argc < WORDS_MAX);
        argv[argc++] = word;
    }
    last.how = verb->run(ctl, argc, argv);
    fclose(ctl->out);
    fclose(ctl->err);
    free(text);
}

const struct fake_run *
fake_run(const struct verb *verb, const char *words, const struct ctl *options,
         const char *const *answers)
{
    char dir[] = "/tmp/mbroker-fake-XXXXXX", path[64];
    struct ctl ctl = options ? *options : (struct ctl){.json = false};
    struct fake fake = {.answers = answers, .run = &last};
    pthread_t thread;

    assert_non_null(mkdtemp(dir));
    fake.listener = answers ? listen_in(dir) : -1;
    ctl.run_dir = ctl.run_dir ? ctl.run_dir : dir;
    ctl.now_s = ctl.now_s ? ctl.now_s : 1700000000;
    fake_forget();
    if (answers) {
        assert_int_equal(pthread_create(&thread, NULL, serve_all, &fake), 0);
    }
    run_verb(verb, words, &ctl);
    if (answers) {
        shutdown(fake.listener, SHUT_RDWR);
        pthread_join(thread, NULL);
        close(fake.listener);
    }
    snprintf(path, sizeof path, "%s/control.sock", dir);
    unlink(path);
    rmdir(dir);
    return &last;
}

const struct fake_run *
fake_ask(const struct verb *verb, const char *words, bool json,
         const char *answer)
{
    const struct ctl options = {.json = json};
    const char *const answers[] = {answer, NULL};

    return fake_run(verb, words, &options, answers);
}

const struct fake_run *
fake_alone(const struct verb *verb, const char *words, bool json)
{
    const struct ctl options = {.json = json};

    return fake_run(verb, words, &options, NULL);
}

void
fake_forget(void)
{
    free(last.out);
    free(last.err);
    last.out = last.err = NULL;
    last.n_requests = 0;
}
