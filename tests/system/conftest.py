# SPDX-License-Identifier: Apache-2.0
"""What all tests here share."""
import pytest


@pytest.fixture
def tmp_path(tmp_path):
    """pytest's own, which a broker's unprivileged processes may pass through:
    where they have no root of their own they come to their files by name."""
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(directory.stat().st_mode | 0o011)
    return tmp_path
