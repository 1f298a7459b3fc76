"""Measurements of ``lightbsr infer`` and ``export`` with the bundled model.

    python -m benchmarks.using [--images FOLDER ...] [--large]

Tiles against the whole image for every image of the folders (bundled images by default), start-up times, ONNX against torch;
with ``--large`` the peak memory for a 4000x3000 image, which takes minutes. Peak memory is read from Linux's ``/proc``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.side_by_side import in_turns, ratio
from lightbsr_arch import Upscaler
from lightbsr_arch.inference.image_files import READABLE, read_picture
from lightbsr_arch.weights.model_files import SMALL_MODEL, load_model

TILES = (96, 128, 192)
"""Tile sizes that are compared with the whole image, in LR pixels."""


def _pictures(folders: Sequence[Path]) -> Iterator[tuple[str, np.ndarray]]:
    """Images to restore, not degraded: only the difference between two ways of restoring them is measured."""
    if not folders:
        import skimage.data

        for name in ("astronaut", "chelsea", "coffee", "rocket"):
            yield name, getattr(skimage.data, name)()
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in READABLE:
                yield path.name, read_picture(path.read_bytes()).pixels


def _psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = float(np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2))
    return float("inf") if error == 0 else 10 * np.log10(255**2 / error)


def tiles_against_whole(folders: Sequence[Path], seams: Path | None) -> None:
    """PSNR between an image restored in tiles and as a whole, both in 8 bits."""
    whole = Upscaler.from_checkpoint(SMALL_MODEL, device="cpu", tile="off")
    tiled = {side: Upscaler.from_checkpoint(SMALL_MODEL, device="cpu", tile=side) for side in TILES}
    found: dict[int, list[float]] = {side: [] for side in TILES}
    worst: dict[int, int] = dict.fromkeys(TILES, 0)
    for name, pixels in _pictures(folders):
        if max(pixels.shape[:2]) <= TILES[0]:
            continue
        expected = whole.upscale(pixels)
        for side, upscaler in tiled.items():
            if max(pixels.shape[:2]) <= side:
                continue
            result = upscaler.upscale(pixels)
            found[side].append(_psnr(result, expected))
            worst[side] = max(worst[side], int(np.abs(result.astype(int) - expected).max()))
            if seams is not None and side == TILES[0]:
                Image.fromarray(result).save(seams / f"{Path(name).stem}_tiled.png")
    print(
        "| tile | images | lowest PSNR to the whole | mean | largest difference of a value (of 255) |\n|---|---|---|---|---|"
    )
    for side in TILES:
        if found[side]:
            figures = found[side]
            print(f"| {side} | {len(figures)} | {min(figures):.1f} dB | {np.mean(figures):.1f} dB | {worst[side]} |")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "lightbsr", *arguments]


def starting(turns: int = 5) -> None:
    """Seconds until the help is printed, and until a small image is written."""
    import skimage.data

    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "a.png"
        Image.fromarray(skimage.data.coffee()[:64, :64]).save(source)
        for what, arguments in (
            ("lightbsr --help", ["--help"]),
            ("lightbsr infer, 64x64", ["infer", str(source), "-o", str(Path(folder) / "b.png"), "--overwrite"]),
        ):
            seconds = []
            for _ in range(turns + 1):
                started = time.perf_counter()
                subprocess.run(_command(*arguments), check=True, capture_output=True)
                seconds.append(time.perf_counter() - started)
            print(f"{what}: {np.median(seconds[1:]):.2f} s (median of {turns}, files cached)")


def large() -> None:
    """Peak memory of ``lightbsr infer`` on 4000x3000 pixels."""
    import skimage.data

    tile = skimage.data.coffee()
    rows, columns = -(-3000 // tile.shape[0]), -(-4000 // tile.shape[1])
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.png", Path(folder) / "b.png"
        Image.fromarray(np.tile(tile, (rows, columns, 1))[:3000, :4000]).save(source)
        code = (
            "import resource, lightbsr\n"
            f"status = lightbsr.main(['infer', {str(source)!r}, '-o', {str(target)!r}, '--device', 'cpu', '--tile', 'auto'])\n"
            "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\nraise SystemExit(status)"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        print(done.stdout.splitlines()[0].replace(folder, ""))
        print(f"peak memory of 4000x3000 to 16000x12000: {int(done.stdout.split()[-1]) / 2**20:.2f} GiB")


def onnx() -> None:
    """ONNX against torch: values, and seconds in turns."""
    import onnxruntime

    from lightbsr_arch.export.onnx_file import save_onnx

    model = load_model(SMALL_MODEL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.onnx"
        for precision in ("fp32", "fp16"):
            difference = save_onnx(path, model.net, {}, precision)  # type: ignore[arg-type]
            print(f"ONNX {precision}: largest difference to torch {difference:.1e}, {path.stat().st_size / 1e6:.2f} MB")
        save_onnx(path, model.net, {}, "fp32")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    upscaler = Upscaler(model.net, device="cpu", tile="off")
    pixels = np.random.default_rng(0).integers(0, 256, (180, 320, 3), dtype=np.uint8)
    lq = pixels.astype(np.float32).transpose(2, 0, 1)[None] / 255
    ways: dict[str, Callable[[], object]] = {
        "onnxruntime": lambda: session.run(None, {"lq": lq}),
        "Upscaler": lambda: upscaler.upscale(pixels),
    }
    timings = in_turns(ways, 5)
    times = ratio(timings["onnxruntime"], timings["Upscaler"])
    print(f"180x320 to 720x1280: Upscaler {times:.2f} times as fast as onnxruntime, {timings['Upscaler'].spread}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="*", default=[], help="folders of LR images")
    parser.add_argument("--seams", type=Path, help="folder for images made of the smallest tiles, for inspection")
    parser.add_argument("--large", action="store_true", help="also measure a 4000x3000 image")
    args = parser.parse_args()
    if args.seams is not None:
        args.seams.mkdir(parents=True, exist_ok=True)
    tiles_against_whole(args.images, args.seams)
    starting()
    onnx()
    if args.large:
        large()


if __name__ == "__main__":
    main()
