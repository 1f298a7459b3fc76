"""One folder, one run: a lock next to a run's folder, held by the process that writes there.

BasicSR renames the folder of an older run of the same name (``utils/misc.py:28``), even while that run is still writing: it
then writes its states into the folder of the newer one.

The lock is a file ``.NAME.lock`` next to the folder, not in it, since the folder gets renamed. It is created with its content
in one step (a hard link, which fails if the name exists, on NFS too), so that exactly one of several runs starting together
wins. It names its owner. Whether that process is still running can only be checked on its own machine; elsewhere the user
decides, by deleting the file.
"""

from __future__ import annotations

import atexit
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from lightbsr_arch.errors import CommandFailed

if sys.platform != "win32":
    import fcntl

_held: dict[Path, Owner] = {}
_writing_seconds = 5.0
"""Seconds that a lock may be unreadable while its owner is writing it, on file systems without hard links."""


class RunInUse(CommandFailed):
    """Another process writes into the folder of this run."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock."""

    host: str
    boot: str
    """Changes when the machine restarts; empty if the system does not report it."""
    namespace: str
    """Processes of one namespace see each other; containers have their own. Empty if the system does not report it."""
    pid: int
    process_started: str
    """Distinguishes the process from a later one with the same pid."""
    since: str
    command: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since} ({self.command})"


def take(folder: Path) -> str | None:
    """Take the lock of a folder, for as long as this process runs or until :func:`release_all`.

    Args:
        folder: The folder of a run, which need not exist.

    Returns:
        A message naming the dead process whose lock was taken over, if there was one.

    Raises:
        RunInUse: Another process holds it, or may hold it; the message names it and says what to do.
        CommandFailed: The lock cannot be written.
    """
    path = lock_path(folder)
    me = _this_process()
    if not _held:
        atexit.register(release_all)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        note = _take(path, folder, me)
    except OSError as error:
        raise CommandFailed(
            f"{folder}: the lock {path} cannot be written ({error}). Is the folder writable?"
        ) from error
    _held[path] = me
    return note


def lock_path(folder: Path) -> Path:
    """The lock of a run's folder."""
    return folder.with_name(f".{folder.name}.lock")


def confirm(folder: Path) -> None:
    """Check that the folder still belongs to this process, before something is written there.

    Raises:
        RunInUse: Someone deleted the lock, and another run has taken it since.
    """
    path = lock_path(folder)
    mine = _held.get(path)
    if mine is None or mine.pid != os.getpid():
        return
    other = _read(path)
    if other is None and not path.exists():
        take(folder)
    elif other is not None and other != mine:
        del _held[path]
        raise RunInUse(f"{folder} has been taken over by {other}, since {path} was deleted: this run stops.")


def release_all() -> None:
    """Release all locks of this process. Does nothing in a forked process."""
    for path, mine in list(_held.items()):
        if mine.pid == os.getpid():
            del _held[path]
            if _read(path) == mine:
                with suppress(OSError):
                    path.unlink()


def _take(path: Path, folder: Path, me: Owner) -> str | None:
    patience = time.monotonic() + _writing_seconds
    while True:
        if _create(path, me):
            return None
        owner = _read(path)
        if owner is None:
            if path.exists() and time.monotonic() > patience:
                raise RunInUse(f"{path} is not a lock that can be read. If no run writes into {folder}, delete it.")
            time.sleep(0.01)
            continue
        fate = _fate(owner, me)
        if fate in ("own", "dead"):
            if _replace(path, owner, me):
                return None if fate == "own" else f"{folder} was left locked by {owner}, which has ended: taken over."
            continue
        advice = "Wait for it, stop it, or give this run another `name`."
        if fate == "unknown":
            advice += f" Whether it still runs cannot be seen from here ({me.host}): if it does not, delete {path}."
        raise RunInUse(f"{folder} is in use by {owner}. {advice}")


def _create(path: Path, me: Owner) -> bool:
    """Create the lock unless it exists."""
    content = json.dumps(asdict(me), indent=1)
    draft = path.with_name(f"{path.name}.{me.host}.{me.pid}")
    try:
        draft.write_text(content, encoding="utf-8")
        os.link(draft, path)
    except FileExistsError:
        return False
    except OSError:  # no room, or a file system without hard links: the second says which
        try:
            file = path.open("x", encoding="utf-8")
        except FileExistsError:
            return False
        try:
            with file:
                file.write(content)
        except OSError:
            path.unlink()
            raise
    finally:
        draft.unlink(missing_ok=True)
    return True


def _replace(path: Path, old: Owner, me: Owner) -> bool:
    """Replace the lock of a dead process. Only processes of its machine can try, so a lock of this machine guards it."""
    try:
        file = path.open("r+", encoding="utf-8")
    except FileNotFoundError:
        return False
    with file:
        if sys.platform != "win32":
            fcntl.flock(file, fcntl.LOCK_EX)
        # After waiting here, the name may belong to another file.
        if not path.exists() or not os.path.samestat(os.fstat(file.fileno()), path.stat()) or _read(path) != old:
            return False
        draft = path.with_name(f"{path.name}.{me.host}.{me.pid}")
        draft.write_text(json.dumps(asdict(me), indent=1), encoding="utf-8")
        draft.replace(path)
    return True


def _read(path: Path) -> Owner | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Owner(**{field.name: content[field.name] for field in fields(Owner)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _fate(owner: Owner, me: Owner) -> str:
    """What is known of an owner: ``own`` (an earlier run in this process), ``alive``, ``dead`` or ``unknown``."""
    if owner.host != me.host:
        return "unknown"
    if owner.boot != me.boot:
        return "dead"
    if owner.namespace != me.namespace or sys.platform == "win32":
        return "unknown"
    if (owner.pid, owner.process_started) == (me.pid, me.process_started):
        return "own"
    return "alive" if _start_of(owner.pid) == owner.process_started else "dead"


def _this_process() -> Owner:
    return Owner(
        host=socket.gethostname(),
        boot=_text(Path("/proc/sys/kernel/random/boot_id")),
        namespace=_link(Path("/proc/self/ns/pid")),
        pid=os.getpid(),
        process_started=_start_of(os.getpid()) or "",
        since=time.strftime("%Y-%m-%d %H:%M:%S"),
        command=" ".join(sys.argv),
    )


def _start_of(pid: int) -> str | None:
    """When a process started, as the system reports it; None if there is none, or if it is a zombie."""
    if Path("/proc/self/stat").exists():
        # After the command's name, which may contain anything: state, then 18 numbers, then the start in ticks.
        words = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        return words[19] if words and words[0] not in "ZX" else None
    said = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return said.stdout.strip() or None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
