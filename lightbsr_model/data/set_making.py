"""Make a set from many images, on all cores, in bounded memory, in a fixed order."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from lightbsr_arch.errors import CommandFailed, CommandStopped, ImageError
from lightbsr_model.data.set_stores import EncodedPng
from lightbsr_model.data.set_writer import Extras, SetWriter
from lightbsr_model.data.worker_pool import WorkerPool

Source = TypeVar("Source")

_SAMPLES = 6
"""Number of images that are made first, and dropped, to estimate the space that all will take."""


@dataclass(frozen=True)
class Task(Generic[Source]):
    """One image to work on."""

    identity: str
    """Tells its content from any other's."""
    size: int
    """In bytes; space and progress are reckoned by it."""
    source: Source
    """What the work takes."""


@dataclass(frozen=True)
class Made:
    """What came of it."""

    record: dict[str, Any]
    """Of the whole set, see :meth:`~lightbsr_model.data.set_writer.SetWriter.finish`."""
    new: int
    """Pictures that were worked on now."""
    bad: list[str]
    """One message for each image that could not be used."""
    was_finished: bool
    """Whether there was nothing to do."""


def make_set(
    writer: SetWriter,
    tasks: Sequence[Task[Source]],
    work: Callable[[Source], list[EncodedPng]],
    workers: int,
    skip_bad: bool,
    title: str,
    extras: Extras | None = None,
) -> Made:
    """Work on images and write what comes of it, going on where an earlier start stopped.

    Args:
        writer: Where to.
        tasks: In the order of the set.
        work: Called in worker processes, so a function of a module. Raises ImageError for an image that cannot be used.
        workers: Processes; 0 works in this one.
        skip_bad: Finish the set without the images that cannot be used, and list them in its record.
        title: Of the progress bar.
        extras: Files that come with the set.

    Raises:
        CommandFailed: Not enough disk space, a full disk, or images that cannot be used (unless ``skip_bad``): the set
            then waits under its name with ``.part``, with all others in it.
        CommandStopped: Ctrl-C or SIGTERM; the same command resumes there.
        OptionError: The name is taken.
    """
    identities = [task.identity for task in tasks]
    record = writer.finished(identities)
    if record is not None:
        return Made(record, 0, list(record.get("left_out", [])), True)
    done = writer.open(identities)
    todo = [task for task in tasks if task.identity not in done]
    bad: list[str] = []
    try:
        with WorkerPool(_Guarded(work), workers) as pool:
            _check_space(writer.output, todo, pool)
            for task, outcome in zip(todo, pool.map(todo, title), strict=True):
                if isinstance(outcome, str):
                    bad.append(outcome)
                else:
                    writer.add(task.identity, outcome)
        writer.flush()
        if bad and not skip_bad:
            raise CommandFailed(
                f"{len(bad)} of {len(tasks)} images cannot be used:\n  "
                + "\n  ".join(bad)
                + f"\nThe others are ready in {writer.output}.part. Mend or remove these and run the same command again, or "
                "leave them out with --skip-bad."
            )
        return Made(writer.finish(identities, extras, left_out=bad), len(todo) - len(bad), bad, False)
    except KeyboardInterrupt:
        writer.flush()
        raise CommandStopped("stopped; the same command resumes here.") from None
    finally:
        writer.close()


@dataclass(frozen=True)
class _Guarded(Generic[Source]):
    """Work whose bad images are an outcome, not an end."""

    work: Callable[[Source], list[EncodedPng]]

    def __call__(self, task: Task[Source]) -> list[EncodedPng] | str:
        try:
            return self.work(task.source)
        except ImageError as error:
            return str(error)


def _check_space(
    output: Path, todo: Sequence[Task[Source]], pool: WorkerPool[Task[Source], list[EncodedPng] | str]
) -> None:
    """Estimate the space that the rest of a set takes, from a few images spread over it.

    Raises:
        CommandFailed: There is less.
    """
    chosen = todo[:: max(1, len(todo) // _SAMPLES)][:_SAMPLES]
    made = [
        (task.size, sum(len(image.content) for image in outcome))
        for task, outcome in zip(chosen, pool.map(chosen), strict=True)
        if not isinstance(outcome, str)
    ]
    if not made:
        return
    ratio = sum(size for _, size in made) / max(1, sum(size for size, _ in made))
    needed = ratio * sum(task.size for task in todo)
    free = shutil.disk_usage(output.parent).free
    if needed > free:
        raise CommandFailed(
            f"{output.parent}: about {_gib(needed)} are needed for the rest of {output.name}, and {_gib(free)} are free. Make "
            "room, or name an output on another disk."
        )


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
