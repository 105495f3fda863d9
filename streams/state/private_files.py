"""Files and folders that only their owner may read, and files that are what they seem to be."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

FOLDER_MODE = 0o700
FILE_MODE = 0o600


def make_private_folder(folder: Path) -> None:
    """Make a folder with its parents, or take the one that is there; nobody else may enter it, whatever the umask.

    A folder of another owner, as a mounted volume, stays as it is.
    """
    for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
        missing.mkdir(exist_ok=True)
        missing.chmod(FOLDER_MODE)  # one by one: under a narrow umask the next could not be made
    if folder.is_dir():
        with suppress(PermissionError):
            folder.chmod(FOLDER_MODE)


def create_private(path: Path) -> BinaryIO:
    """A new file, open for writing, that nobody else may read, whatever the umask.

    Raises:
        FileExistsError: something has this name.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    os.fchmod(handle, FILE_MODE)
    return os.fdopen(handle, "wb")


def open_regular(path: Path) -> BinaryIO:
    """A file, open for reading.

    Raises:
        OSError: it cannot be opened, or is a link, a folder, a device, a socket or a pipe.
    """
    try:
        # A pipe without a writer would block here.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise OSError(error.errno, "must be a regular file, not a link or a device", str(path)) from None
        raise
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "must be a regular file, not a link or a device", str(path))
    return os.fdopen(handle, "rb")
