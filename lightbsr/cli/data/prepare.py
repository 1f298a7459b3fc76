"""``lightbsr data prepare``: from downloads to the sets that the option files expect."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from lightbsr.cli.data.flags import add_writing, print_left_out
from lightbsr_arch.errors import OptionError
from lightbsr_model.data.found_images import FoundImage, find_pictures, named
from lightbsr_model.data.photographs import BUNDLED_PHOTOGRAPHS, PACKAGE, WALLPAPERS, credit_lines
from lightbsr_model.data.preparing import PicturePreparation
from lightbsr_model.data.set_making import Task, make_set
from lightbsr_model.data.set_writer import INFO_FOLDER, Extras, SetWriter
from lightbsr_model.data.sub_images import SubImageGrid
from lightbsr_model.data.wallpapers import SOURCES_FILE, find_wallpapers, sources_file

DF2K = {"DIV2K_train_HR": 800, "Flickr2K_HR": 2650}
"""Folders in the archives, and their images."""

BENCHMARKS = {"Set5": 5, "Set14": 14, "B100": 100, "Urban100": 100, "Manga109": 109}
"""Test sets by their folders' names, and their images."""

WALLPAPERS_MIN_DETAIL = 6.0
"""Of the wallpapers many sub-images are sky, or soft: three fifths have less detail than this."""

_DESCRIPTION = f"""\
Make a set of images from what you have downloaded.

  lightbsr data prepare df2k DIV2K_train_HR.zip Flickr2K.tar       -> datasets/DF2K_sub.lmdb
  lightbsr data prepare benchmark benchmark.tar                    -> datasets/Set5, Set14, B100, Urban100
  lightbsr data prepare wallpapers {PACKAGE}_*.deb   -> datasets/wallpapers_sub.lmdb
  lightbsr data prepare folder MY_PICTURES -o datasets/mine.lmdb   (or -o datasets/mine: a folder of PNG files)

Sources are folders, .zip and .tar archives; these need no unpacking. For wallpapers, name the .deb of Debian's package or a
folder with its images, or nothing where it is installed; nothing is downloaded. After a stop at any moment, the same command
resumes. The set has its name only when it is whole; before that the name ends in .part."""


def _parser(prog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=prog, description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "set",
        choices=("df2k", "benchmark", "wallpapers", "folder"),
        help="df2k: DIV2K's and Flickr2K's training images; benchmark: Set5, Set14, B100, Urban100, Manga109; "
        f"wallpapers: {len(WALLPAPERS)} photographs of Debian's {PACKAGE} at full, half and quarter size, and "
        f"{len(BUNDLED_PHOTOGRAPHS)} of scikit-image's; folder: any images",
    )
    parser.add_argument(
        "sources",
        nargs="*",
        type=Path,
        metavar="SOURCE",
        help="folder, .zip or .tar; wallpapers: a .deb too, or none for the installed package",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="the set; an LMDB if it ends in .lmdb, else a folder (default: datasets/DF2K_sub.lmdb for df2k, "
        "datasets/wallpapers_sub.lmdb for wallpapers). For benchmark: the folder that holds the sets (default: datasets)",
    )
    cut = parser.add_argument_group("sub-images (df2k, wallpapers, folder)")
    cut.add_argument("--size", type=int, default=480, help="side of a sub-image (default: %(default)s)")
    cut.add_argument("--step", type=int, default=240, help="from one to the next (default: %(default)s)")
    cut.add_argument(
        "--threshold",
        type=int,
        default=0,
        help="leave the last one out if it adds at most this number of new pixels (default: %(default)s)",
    )
    cut.add_argument(
        "--min-detail",
        type=float,
        help="leave out smooth sub-images: those whose luma has a mean absolute Laplacian below this (default: 0; "
        f"wallpapers: {WALLPAPERS_MIN_DETAIL:g})",
    )
    cut.add_argument("--whole", action="store_true", help="keep the images whole instead")
    parser.add_argument("--recursive", action="store_true", help="look into the folders of a folder too")
    parser.add_argument("--lmdb", action="store_true", help="benchmark: LMDBs instead of folders")
    parser.add_argument("--grey", action="store_true", help="write one channel (luma) instead of RGB")
    parser.add_argument(
        "--min-size",
        type=int,
        help="refuse images with a shorter side, as too small for a patch (default: 64; benchmark: 1)",
    )
    parser.add_argument("--any-count", action="store_true", help="df2k, benchmark: continue if images are missing")
    add_writing(parser)
    return parser


def run(command: str, arguments: Sequence[str]) -> None:
    """Prepare a set, or several.

    Raises:
        OptionError: Sources that are missing or not what they should be, or an output that is taken.
        CommandFailed: Images that cannot be used, or no disk space.
    """
    parser = _parser(f"lightbsr {command}")
    args = parser.parse_args(arguments)
    if not args.sources and args.set != "wallpapers":
        parser.error("the following arguments are required: SOURCE")
    if args.set == "wallpapers":
        _wallpapers(args)
        return
    recursive = args.recursive or args.set != "folder"
    pictures = [picture for source in args.sources for picture in find_pictures(source, recursive)]
    if args.set == "benchmark":
        folder = args.output or Path("datasets")
        for name, chosen in _benchmarks(pictures, args.any_count).items():
            _prepare(named(chosen), folder / (f"{name}.lmdb" if args.lmdb else name), None, args)
        return
    if args.set == "df2k":
        pictures = _df2k(pictures, args.any_count)
    elif args.output is None:
        raise OptionError("-o: say where to, such as -o datasets/mine.lmdb.")
    _prepare(named(pictures), args.output or Path("datasets/DF2K_sub.lmdb"), _grid(args), args)


def _grid(args: argparse.Namespace) -> SubImageGrid | None:
    return None if args.whole else SubImageGrid(args.size, args.step, args.threshold)


def _wallpapers(args: argparse.Namespace) -> None:
    output = args.output or Path("datasets/wallpapers_sub.lmdb")
    _prepare(find_wallpapers(args.sources), output, _grid(args), args, sources_file)
    info = output if output.suffix == ".lmdb" else output / INFO_FOLDER
    print(f"  to name on the card of a model trained on them, with sources in {info / SOURCES_FILE}:")
    print("    " + "\n    ".join(credit_lines((*WALLPAPERS, *BUNDLED_PHOTOGRAPHS))))


def _prepare(
    pictures: Sequence[FoundImage],
    output: Path,
    grid: SubImageGrid | None,
    args: argparse.Namespace,
    extras: Extras | None = None,
) -> None:
    min_size = args.min_size if args.min_size is not None else (1 if args.set == "benchmark" else 64)
    least = args.min_detail if args.min_detail is not None else WALLPAPERS_MIN_DETAIL * (args.set == "wallpapers")
    if not 0 <= least < float("inf"):
        raise OptionError(f"--min-detail: expected a number >= 0, got {least}.")
    if grid is None and args.min_detail:
        raise OptionError("--min-detail: leaves out sub-images, and whole images are not cut: leave it or --whole out.")
    least = least if grid else 0.0
    preparation = PicturePreparation(grid, min_size, args.png_level, args.grey, least)
    recipe = {
        "size": grid.size if grid else None,
        "step": grid.step if grid else None,
        "threshold": grid.threshold if grid else None,
        "min_size": min_size,
        "png_level": args.png_level,
        "grey": args.grey,
        # Sets that were begun before there was a choice go on.
        **({"min_detail": least} if least else {}),
    }
    tasks = [Task(picture.identity, picture.size // picture.shrink**2, picture) for picture in pictures]
    writer = SetWriter(output, recipe, args.png_level)
    made = make_set(writer, tasks, preparation, args.workers, args.skip_bad, output.name, extras)
    if made.was_finished:
        print(f"{output}: finished before, {made.record['images']} images made of {made.record['sources']}.")
    else:
        print(
            f"{output}: {made.record['images']} images made of {len(tasks) - len(made.bad)}"
            + (f", {len(tasks) - made.new - len(made.bad)} of them from before." if made.new < len(tasks) else ".")
        )
    print(f"  list of names, SHA-256: {made.record['names_sha256']}")
    print_left_out(made)


def _folder_names(picture: FoundImage) -> tuple[str, ...]:
    """The folders above an image, the source's own included."""
    return (picture.container.absolute().name, *PurePosixPath(picture.member).parts[:-1])


def _df2k(pictures: Sequence[FoundImage], any_count: bool) -> list[FoundImage]:
    chosen = {name: [picture for picture in pictures if name in _folder_names(picture)] for name in DF2K}
    _check_counts({name: len(chosen[name]) for name in DF2K}, DF2K, any_count)
    return [picture for group in chosen.values() for picture in group]


def _benchmarks(pictures: Sequence[FoundImage], any_count: bool) -> dict[str, list[FoundImage]]:
    chosen: dict[str, list[FoundImage]] = {name: [] for name in BENCHMARKS}
    for picture in pictures:
        folders = _folder_names(picture)
        for name in BENCHMARKS:
            # HR images lie in the set's folder itself or in one called HR, LR ones in others.
            if name in folders and folders[folders.index(name) + 1 :] in ((), ("HR",), ("GTmod12",), ("original",)):
                chosen[name].append(picture)
    found = {name: group for name, group in chosen.items() if group}
    if not found:
        raise OptionError(
            f"sources: none of {', '.join(BENCHMARKS)} is in them; a set is known by its folder's name, with the HR "
            "pictures in it or in a folder HR."
        )
    _check_counts({name: len(group) for name, group in found.items()}, BENCHMARKS, any_count)
    return found


def _check_counts(found: dict[str, int], expected: dict[str, int], any_count: bool) -> None:
    wrong = [f"{name}: {count} of {expected[name]}" for name, count in found.items() if count != expected[name]]
    if wrong and not (any_count and any(found.values())):
        raise OptionError(
            f"sources: images are missing, or there are too many ({', '.join(wrong)}). Sets are known by their folders' "
            "names. Check the downloads, or continue with the images that are there: --any-count."
        )
