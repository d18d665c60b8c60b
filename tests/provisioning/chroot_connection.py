"""An ansible connection into a folder with a whole distribution in it (test_play.py); ansible's own is not in ansible-core."""

import os
import shutil
import subprocess

from ansible.plugins.connection import ConnectionBase

DOCUMENTATION = """
name: chroot_connection
short_description: commands in a folder, by chroot
description: [The inventory's ansible_host is the folder.]
options:
  remote_addr:
    description: [The folder.]
    vars: [{name: ansible_host}]
"""


class Connection(ConnectionBase):
    """Needs root. Files are copied from outside, commands are run inside."""

    transport = "chroot_connection"

    def _connect(self):
        self._connected = True
        return self

    def _inside(self, path: str) -> str:
        return os.path.join(self.get_option("remote_addr"), path.lstrip("/"))

    def exec_command(self, cmd: str, in_data: bytes | None = None, sudoable: bool = True) -> tuple[int, bytes, bytes]:
        """Exit code, stdout, stderr of `cmd` inside."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        done = subprocess.run(
            ["chroot", self.get_option("remote_addr"), "/bin/sh", "-c", cmd],
            input=in_data if in_data is not None else b"",
            capture_output=True,
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "HOME": "/root",
                "LANG": "C.UTF-8",
                "DEBIAN_FRONTEND": "noninteractive",
            },
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file in."""
        shutil.copy(in_path, self._inside(out_path))

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file out."""
        shutil.copy(self._inside(in_path), out_path)

    def close(self) -> None:
        self._connected = False
