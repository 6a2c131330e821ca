/* SPDX-License-Identifier: Apache-2.0 */
/* Feeds files to a fuzz target, for builds without libFuzzer.  Given a folder
 * it speaks TAP, a case a file, each in a process of its own so that one crash
 * does not hide the next; given files it runs them in this process, for a
 * debugger. */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_SIZE 4096
#define CASE_SECONDS_MAX 60 /* A hang is a failure too. */

static int run_folder(const char *program, const char *folder);
static int run_case(const char *program, const char *path);
static int run_file(const char *path);

int
main(int argc, char **argv)
{
    struct stat info;
    int failed = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: %s FOLDER | FILE...\n", argv[0]);
        return 2;
    }
    if (!stat(argv[1], &info) && S_ISDIR(info.st_mode)) {
        return run_folder(argv[0], argv[1]);
    }
    for (int i = 1; i < argc; i++) {
        failed |= run_file(argv[i]);
    }
    return failed;
}

static int
is_input(const struct dirent *entry)
{
    return entry->d_name[0] != '.';
}

static int
run_folder(const char *program, const char *folder)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, is_input, alphasort);
    int failed = 0;

    if (n <= 0) {
        printf("1..1\nnot ok 1 - %s has a corpus\n", folder);
        return 1;
    }
    printf("1..%d\n", n);
    for (int i = 0; i < n; i++) {
        char path[PATH_SIZE];
        int error;

        snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
        error = run_case(program, path);
        printf("%sok %d - %s\n", error ? "not " : "", i + 1,
               entries[i]->d_name);
        failed |= error;
        free(entries[i]);
    }
    free(entries);
    return failed;
}

static int
run_case(const char *program, const char *path)
{
    pid_t pid;
    int status = 0;

    fflush(stdout);
    pid = fork();
    if (pid == 0) {
        alarm(CASE_SECONDS_MAX);
        exit(run_file(path)); /* Targets may have files to remove. */
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid) {
        perror("# fork");
        return 1;
    }
    if (status) {
        printf("# %s %d; to repeat: %s %s\n",
               WIFSIGNALED(status) ? "signal" : "exit code",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
               program, path);
    }
    return status != 0;
}

/* Reads the file into memory of exactly its size, so that a sanitizer sees any
 * read beyond it. */
static int
run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    uint8_t *data;
    int failed = 1;

    if (!file || fstat(fileno(file), &info)) {
        perror(path);
        if (file) {
            fclose(file);
        }
        return 1;
    }
    data = malloc((size_t)info.st_size);
    if (info.st_size == 0 || (data && fread(data, 1, (size_t)info.st_size,
                                            file) == (size_t)info.st_size)) {
        failed = LLVMFuzzerTestOneInput(data, (size_t)info.st_size);
    }
    free(data);
    fclose(file);
    return failed;
}
