# SPDX-License-Identifier: Apache-2.0
"""The manuals are well-formed and name what the programs have; their examples
are configurations that mbrokerd takes."""
import re
import shutil
import subprocess

import pytest

from harness import MAGENTD, MBROKERD, MCTL, PATIENCE, TOP

if not MBROKERD.exists():
    pytest.skip("%s is not built" % MBROKERD, allow_module_level=True)

PROGRAMS = {"broker/mbrokerd.8": MBROKERD, "agent/magentd.8": MAGENTD,
            "ctl/mctl.1": MCTL}
MANUALS = sorted(list(PROGRAMS) + ["broker/mbroker.conf.5"])


def options_of(program):
    done = subprocess.run([str(program), "--help"], capture_output=True, text=True,
                          timeout=PATIENCE)
    return set(re.findall(r"(?<![\w-])--([a-z][a-z-]+)", done.stdout))


@pytest.mark.skipif(not shutil.which("mandoc"), reason="mandoc is missing")
@pytest.mark.parametrize("manual", MANUALS)
def test_a_manual_is_well_formed(manual):
    done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(TOP / manual)],
                          capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.parametrize("manual", sorted(PROGRAMS))
def test_a_manual_has_every_option_of_its_program(manual):
    text = (TOP / manual).read_text()
    options = options_of(PROGRAMS[manual])
    assert {"help", "version"} <= options
    for option in options:
        assert "-%s" % option in text, option


def test_the_configurations_manual_has_every_setting():
    """Every name that config.c's tables of fields have."""
    source = (TOP / "broker" / "config" / "config.c").read_text()
    names = re.findall(r'^    \{"([a-z_]+)", FIELD_', source, re.M)
    assert len(names) > 25
    words = set(re.findall(r"[a-z_]+", (TOP / "broker" / "mbroker.conf.5").read_text()))
    assert set(names) <= words


@pytest.mark.parametrize("manual", ["broker/mbrokerd.8", "broker/mbroker.conf.5"])
def test_a_manuals_example_is_taken(manual, tmp_path):
    text = (TOP / manual).read_text()
    example = re.findall(r"^\.Bd -literal[^\n]*\n(.*?)^\.Ed", text, re.M | re.S)[-1]
    # Groups and CPUs of a machine that isn't this one.
    example = example.replace('"adm"', '"root"').replace('"mbroker"', '"root"')
    example = example.replace('"0-1"', '"0"').replace("vcpus = [1]", "vcpus = [0]")
    conf = tmp_path / "example.conf"
    conf.write_text(example)
    done = subprocess.run([str(MBROKERD), "--check", str(conf)], capture_output=True,
                          text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
