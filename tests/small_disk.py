"""A disk of few bytes, for what happens when it is full or read-only."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory, which needs the right to mount."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def used(self) -> int:
        """Bytes."""
        return shutil.disk_usage(self.path).used

    def remount(self, options: str) -> None:
        """With other options: "size=8m", "ro"."""
        subprocess.run(["mount", "-o", f"remount,{options}", self.path], check=True, capture_output=True)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """Skip the test where nothing may be mounted."""
    path.mkdir()
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting needs root")
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip("nothing may be mounted here")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)
