"""What the operating system's errors about files mean to the caller of a backend."""

from __future__ import annotations

import errno

from engram_format.errors import Denied, EngramError, Exhausted, InvalidInput, NotFound, Precondition, Unavailable

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OUT_OF_HANDLES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_NO_HARD_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})


def error_for(error: OSError, task: str) -> EngramError:
    """Return our error for one that met the attempt to do `task`, such as `write 'a/b' in /data`."""
    reason = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return Exhausted(f"cannot {task} ({reason}); make room on that disk or raise the quota")
    if error.errno in _OUT_OF_HANDLES:
        return Exhausted(f"cannot {task} ({reason}); raise this process's limits or close other files")
    if error.errno in _FORBIDDEN:
        return Denied(f"cannot {task} ({reason}); ask for the right to do so, or use another folder")
    if error.errno == errno.ENAMETOOLONG:
        return InvalidInput(f"cannot {task} ({reason}); use a shorter name")
    if error.errno == errno.ENOENT:
        return NotFound(f"cannot {task} because its folder was removed meanwhile; restore the folder")
    if error.errno in {errno.ENOTDIR, errno.ELOOP}:
        return Precondition(f"cannot {task} because something else is where a folder belongs ({reason}); move it away")
    return Unavailable(f"cannot {task} ({reason}); check the disk and try again")


def error_for_link(error: OSError, url: str) -> Exception:
    """Return our error for a refused hard link in the folder `url`, or `error` itself if links are not what is wrong."""
    if error.errno in _NO_HARD_LINKS:
        return Precondition(
            f"{url} refuses hard links ({error.strerror}), without which two writers could overwrite each other; "
            "use a folder on one file system that has them, such as ext4, xfs, zfs, apfs or NFS"
        )
    return error
