"""``lightbsr data check``: read every image, and report problems."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightbsr.cli.data.flags import add_workers
from lightbsr.shipped_options import find_option_file
from lightbsr_arch.display import printable, printable_lines
from lightbsr_arch.errors import CommandFailed, OptionError
from lightbsr_model.data.image_sources import backend_of, open_images
from lightbsr_model.data.inspection import Findings, inspect_images, ranges, size_mismatches
from lightbsr_model.data.lq_images import open_lq_images
from lightbsr_model.data.mixing import mix_sections
from lightbsr_model.data.set_writer import names_digest
from lightbsr_model.option_files.class_options import for_its_model
from lightbsr_model.option_files.whole_options import read_options

_LONGEST_LIST = 20


@dataclass(frozen=True)
class _Set:
    """A set of images to check."""

    title: str
    options: Mapping[str, Any]
    """As a data set's section in an option file."""
    smallest: int
    """The least side in pixels that its use asks for."""


def run(command: str, arguments: Sequence[str]) -> None:
    """Read all images of some sets and report.

    Raises:
        OptionError: A set that does not exist.
        CommandFailed: Images are unreadable or too small, or pairs do not fit.
    """
    parser = argparse.ArgumentParser(
        prog=f"lightbsr {command}",
        description="Read every image of folders, LMDBs or an option file's data sets; report counts, sizes, kinds, "
        "duplicates and problems, and how long the reading takes. Exit 1 if there are problems.",
    )
    parser.add_argument("sets", nargs="*", metavar="SET", help="folder, LMDB, or option file (.yml)")
    parser.add_argument("-opt", dest="option_files", action="append", default=[], metavar="FILE", help="option file")
    parser.add_argument("--gt-size", type=int, default=1, help="folders and LMDBs: side of the crops to come")
    parser.add_argument("--lq", help="folder or LMDB of the LQ images of the one SET")
    parser.add_argument("--scale", type=int, default=4, help="with --lq (default: %(default)s)")
    parser.add_argument("--filename-tmpl", default="{}", help="with --lq: name of an LQ image, {} being its GT image's")
    add_workers(parser)
    args = parser.parse_args(arguments)
    option_files = [*args.option_files, *(name for name in args.sets if name.endswith((".yml", ".yaml")))]
    places = [name for name in args.sets if name not in option_files]
    if not places and not option_files:
        parser.error("name a folder, an LMDB or an option file")
    if args.lq is not None and len(places) != 1:
        raise OptionError("--lq: expected one folder or LMDB of GT images beside it.")
    sets = [_of_place(name, args) for name in places]
    sets += [found for file in option_files for found in _of_option_file(find_option_file(file))]
    read: dict[str, Findings] = {}
    problems = sum([_check(one, args.workers, read) for one in sets])
    if problems:
        raise CommandFailed(f"{problems} problems, see above.")
    print("No problems.")


def _of_place(name: str, args: argparse.Namespace) -> _Set:
    options = {"dataroot_gt": name, "io_backend": {"type": backend_of(name)}, "scale": args.scale}
    if args.lq is not None:
        if backend_of(args.lq) != backend_of(name):
            raise OptionError(f"--lq: {args.lq} and {name}: expected two folders or two LMDBs.")
        options |= {"dataroot_lq": args.lq, "filename_tmpl": args.filename_tmpl}
    return _Set(name, options, args.gt_size)


def _of_option_file(path: Path) -> Iterator[_Set]:
    document = read_options(path)
    if document.problems or not isinstance(document.options.get("datasets"), dict):
        raise OptionError(f"{path}: {document.problems[0] if document.problems else 'there is no section datasets'}.")
    for key, options in document.options["datasets"].items():
        scale = options.get("scale", document.options.get("scale", 1))
        if key == "train":
            options = for_its_model(options, document.options.get("model_type"))
        for number, part in enumerate(mix_sections(options)):
            # The least that the 21x21 kernel asks for, see the benchmark data set.
            smallest = part.get("gt_size", 1) if key == "train" else (10 + scale if "preset" in part else 1)
            entry = f":mix:{number}" if options.get("mix") is not None else ""
            yield _Set(f"{path} datasets:{key}{entry}", {**part, "scale": scale}, smallest)


def _check(one: _Set, workers: int, read: dict[str, Findings]) -> int:
    """Report on a set and return how many problems it has. Images that were read before are not read again."""
    print(f"== {one.title}")
    options = dict(one.options)
    gt_images = open_images(options)
    gt_key = f"{options.get('dataroot_gt')} {options.get('meta_info_file')} {options.get('pictures')}"
    if gt_key not in read:
        read[gt_key] = inspect_images(gt_images, workers)
    gt = read[gt_key]
    _describe(gt, f"{options.get('dataroot_gt') or 'bundled pictures'}")
    names = [gt_images.stem(index) for index in range(len(gt_images))]
    print(f"  list of names, SHA-256: {names_digest(names)}")
    problems = [*gt.unreadable]
    problems += [
        f"{image.name}: {image.width}x{image.height} is too small, {one.smallest} pixels are needed"
        for image in gt.smaller_than(one.smallest)
    ]
    if options.get("dataroot_lq") is not None:
        lq = inspect_images(open_lq_images(options, gt_images), workers)
        _describe(lq, str(options["dataroot_lq"]))
        problems += [*lq.unreadable, *size_mismatches(gt, lq, options["scale"], bool(options.get("unequal_pairs")))]
    if one.options.get("num_worker_per_gpu") is not None:
        count = len(gt_images) * options.get("dataset_enlarge_ratio", 1)
        loaders = max(1, options["num_worker_per_gpu"])
        seconds = gt.seconds * gt.processes * count / len(gt_images) / loaders
        print(
            f"  an epoch of {count} samples: about {seconds:.0f} s of reading whole images with num_worker_per_gpu "
            f"{loaders}, if there are as many cores; crops of large images take less"
        )
    for problem in problems:
        print(f"  PROBLEM {printable_lines(problem)}")
    return len(problems)


def _describe(findings: Findings, place: str) -> None:
    images = findings.readable
    print(f"  {place}: {len(findings.images)} images, {len(findings.unreadable)} of them unreadable")
    if images:
        sizes = f"{ranges([image.width for image in images])} wide, {ranges([image.height for image in images])} high"
        print(f"  {sizes}, {sum(image.width * image.height for image in images) / 1e6:.1f} megapixels in all")
        print("  " + ", ".join(f"{count} {kind}" for kind, count in findings.kinds.most_common()))
    rate = len(findings.images) / max(findings.seconds, 1e-9)
    print(f"  read in {findings.seconds:.1f} s by {findings.processes} processes: {rate:.0f} images a second")
    for names in findings.duplicates[:_LONGEST_LIST]:
        print(f"  the same image: {', '.join(printable(name) for name in names)}")
    if len(findings.duplicates) > _LONGEST_LIST:
        print(f"  and {len(findings.duplicates) - _LONGEST_LIST} more groups of the same image")
