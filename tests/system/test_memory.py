# SPDX-License-Identifier: Apache-2.0
"""A program that is given ever less memory says so, and never crashes, from enough
down to too little for its libraries."""
import resource
import subprocess

import pytest

from harness import MAGENTD, MBROKERD

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

PAGE = 4096
STEP = 3 * PAGE
ENOUGH = 64 << 20

BROKER = """host_id = "test"; cpus = [0]; pstate = { driver = "sim"; };
policy = { name = "basic"; };
guests = ( %s );
""" % ", ".join('{ name = "web%d"; vcpus = [0]; }' % i for i in range(100))

# Lists in lists cost libconfig most for each byte; the name is refused after.
NESTED = 'host_id = "test";\nnothing = ( %s 0 );\n' % (
    "((((((((((((0)))))))))))), " * 500)

AGENT = 'channel = "unix:/nowhere"; probes = ( { name = "httplog"; path = "%s"; } );\n'


def run(data_max, *command):
    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (data_max, data_max))
    return subprocess.run([str(word) for word in command], preexec_fn=limit, text=True,
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def is_sanitized():
    """Its allocator needs more than there ever is here."""
    return run(ENOUGH, MBROKERD, "--version").returncode != 0


def least(wanted, *command):
    """The least memory with which it ends as it does with enough."""
    low, high = 0, ENOUGH
    while high - low > PAGE:
        middle = (low + high) // 2
        done = run(middle, *command)
        if done.returncode == wanted and "memory" not in done.stderr:
            high = middle
        else:
            low = middle
    return high


@pytest.mark.skipif(is_sanitized(), reason="a sanitizer needs the memory for itself")
@pytest.mark.parametrize("program, text, ends", [
    (MBROKERD, BROKER, 0), (MBROKERD, NESTED, None), (MAGENTD, AGENT, None)],
    ids=["broker", "nested", "agent"])
def test_a_configuration_is_read_or_there_is_no_memory_in_words(
        tmp_path, program, text, ends):
    conf = tmp_path / "x.conf"
    conf.write_text(text % (tmp_path / "log") if "%s" in text else text)
    command = (program, "--check", conf) if program == MBROKERD else \
        (program, "--config", conf, "--check")
    whole = run(ENOUGH, *command)
    assert ends is None or whole.returncode == ends, whole.stderr
    n_said = 0
    size = least(whole.returncode, *command)
    while size > STEP:
        size -= STEP
        done = run(size, *command)
        if run(size, program, "--version").returncode:
            break  # Too little for the loader.
        assert done.returncode > 0, (size, done.returncode, done.stdout, done.stderr)
        n_said += "memory" in done.stderr + done.stdout
    assert n_said > 5, n_said
