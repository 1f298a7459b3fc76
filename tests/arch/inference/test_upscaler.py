from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lightbsr_arch import Upscaler
from lightbsr_arch.errors import ImageError, OptionError
from lightbsr_arch.inference import memory
from lightbsr_arch.inference import upscaler as module
from lightbsr_arch.weights.degradation_probe import DegradationProbe, Reading
from lightbsr_arch.weights.model_files import ModelCard, save_model

from support.encoded_images import SRGB
from support.helpers import tiny_student


@pytest.fixture(scope="module")
def net():
    return tiny_student()


@pytest.fixture(scope="module")
def photograph():
    import skimage.data

    return np.ascontiguousarray(skimage.data.coffee()[100:140, 200:250])


def _expected(net, rgb):
    """The network itself, of (H, W, 3) in [0, 1]."""
    lq = torch.from_numpy(np.ascontiguousarray(rgb, dtype=np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        return net(lq)[0].clamp(0, 1).permute(1, 2, 0).numpy()


def test_arrays_of_every_kind(net, photograph):
    upscaler = Upscaler(net, device="cpu")
    expected = _expected(net, photograph / 255)
    np.testing.assert_allclose(upscaler.upscale(photograph), expected * 255, atol=0.51)
    deep = photograph.astype(np.uint16) * 257
    np.testing.assert_allclose(upscaler.upscale(deep), expected * 65535, atol=8)
    for dtype in (np.float32, np.float64, np.float16):
        floats = upscaler.upscale((photograph / 255).astype(dtype))
        np.testing.assert_allclose(floats, expected, atol=3e-3 if dtype == np.float16 else 1e-4)
    grey = photograph[:, :, 0]
    of_grey = _expected(net, np.repeat(grey[:, :, None], 3, axis=2) / 255).mean(axis=2) * 255
    result = upscaler.upscale(grey)
    assert result.shape == (160, 200)
    assert result.dtype == np.uint8
    np.testing.assert_allclose(result, of_grey, atol=1.01)
    np.testing.assert_array_equal(upscaler.upscale(grey[:, :, None])[:, :, 0], result)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_alpha_is_enlarged_apart(net, photograph, channels, dtype):
    upscaler = Upscaler(net, device="cpu")
    largest = np.iinfo(dtype).max
    colour = photograph[:, :, : channels - 1].astype(dtype) * (largest // 255)
    alpha = np.linspace(0, 1, 40 * 50).reshape(40, 50, 1)
    alpha[10:20] = 0
    alpha = np.rint(alpha * largest) / largest
    image = np.concatenate([colour, (alpha * largest).round().astype(dtype)], axis=2)
    result = upscaler.upscale(image)
    assert result.shape == (160, 200, channels)
    np.testing.assert_array_equal(result[:, :, :-1], upscaler.upscale(colour).reshape(160, 200, -1))
    planes = torch.from_numpy(alpha).permute(2, 0, 1)[None]
    enlarged = F.interpolate(planes, scale_factor=4, mode="bicubic").clamp(0, 1)[0, 0].numpy()
    np.testing.assert_allclose(result[:, :, -1] / largest, enlarged, atol=0.51 / largest + 1e-6)
    image[:, :, -1] = largest
    assert (upscaler.upscale(image)[:, :, -1] == largest).all()


def test_pil_images(net, photograph):
    upscaler = Upscaler(net, device="cpu")
    rgb = upscaler.upscale(photograph)
    image = Image.fromarray(photograph)
    image.info["icc_profile"] = SRGB
    result = upscaler.upscale(image)
    assert result.mode == "RGB"
    assert result.info["icc_profile"] == SRGB
    np.testing.assert_array_equal(np.asarray(result), rgb)
    exif = image.getexif()
    exif[0x0112] = 6
    turned = upscaler.upscale(image)
    assert turned.size == (160, 200)
    np.testing.assert_array_equal(np.asarray(turned), upscaler.upscale(np.ascontiguousarray(np.rot90(photograph, 3))))
    for mode, result_mode in (("L", "L"), ("LA", "LA"), ("RGBA", "RGBA"), ("P", "RGB"), ("1", "L"), ("CMYK", "RGB")):
        assert upscaler.upscale(Image.fromarray(photograph).convert("RGB").convert(mode)).mode == result_mode
    deep = Image.fromarray(photograph[:, :, 0].astype(np.uint16) * 257)
    assert np.asarray(upscaler.upscale(deep)).dtype == np.uint16


def test_tensors(net, photograph):
    upscaler = Upscaler(net, device="cpu")
    lq = torch.from_numpy(photograph).permute(2, 0, 1)
    expected = torch.from_numpy(upscaler.upscale(photograph)).permute(2, 0, 1)
    assert torch.equal(upscaler.upscale(lq), expected)
    floats = upscaler.upscale(torch.stack([lq, lq.flip(2)]).double() / 255)
    assert floats.dtype == torch.float64
    assert floats.shape == (2, 3, 160, 200)
    torch.testing.assert_close(floats[0], expected.double() / 255, rtol=0, atol=0.51 / 255)
    half = upscaler.upscale((lq / 255).half())
    assert half.dtype == torch.float16


def test_pictures_are_not_changed(net, photograph):
    upscaler = Upscaler(net, device="cpu", downscale_first=2)
    for image in (photograph.copy(), (photograph / 255).astype(np.float32)):
        before = image.copy()
        image.setflags(write=False)
        upscaler.upscale(image)
        np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5, 3), np.uint8), "at least one pixel"),
        (np.zeros((5, 5, 5), np.uint8), r"got an array \(5, 5, 5\)"),
        (np.zeros(5, np.uint8), r"got an array \(5,\)"),
        (np.full((5, 5, 3), np.nan, np.float32), "NaN or infinity"),
        (np.full((5, 5, 3), np.inf, np.float32), "NaN or infinity"),
        (np.full((5, 5, 3), 255.0, np.float32), r"floats in \[0, 1\], got 255 to 255: scale them first"),
        (np.zeros((5, 5, 3), np.int64), "got int64"),
        (torch.zeros(5, 5), r"expected a tensor \(3, H, W\)"),
        (torch.zeros(3, 5, 5, dtype=torch.int32), "torch.int32"),
        ("photo.jpg", "got str"),
        (None, "got NoneType"),
    ],
)
def test_what_is_no_image_is_refused(net, image, message):
    with pytest.raises(ImageError, match=message):
        Upscaler(net, device="cpu").upscale(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp8"}, "precision: expected fp32, bf16, fp16, got 'fp8'"),
        ({"tile": 95}, "tile: expected auto, off or an integer >= 96, got 95"),
        ({"tile": True}, "tile: expected"),
        ({"tile": "big"}, "tile: expected"),
        ({"downscale_first": 0.5}, "downscale_first: expected a factor from 1 to 64, got 0.5"),
        ({"downscale_first": float("nan")}, "downscale_first"),
        ({"device": "tpu"}, "device: expected auto, cpu, cuda, cuda:N or mps, got 'tpu'"),
        ({"device": "meta"}, "device: expected auto"),
    ],
)
def test_options_that_make_no_sense_are_refused(net, options, message):
    with pytest.raises(OptionError, match=message):
        Upscaler(net, **{"device": "cpu", **options})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there(net):
    with pytest.raises(OptionError, match="there is no cuda here; `auto` or `cpu` work"):
        Upscaler(net, device="cuda")


def test_shrunk_first(net, photograph):
    # An image whose every 2x2 pixels are equal, but for the filter's reach, is what it was made of.
    large = np.repeat(np.repeat(photograph, 2, axis=0), 2, axis=1)
    result = Upscaler(net, device="cpu", downscale_first=2).upscale(large)
    assert result.shape == (160, 200, 3)
    small = F.interpolate(
        torch.from_numpy(large / 255.0).permute(2, 0, 1)[None], (40, 50), mode="bicubic", antialias=True
    )
    expected = _expected(net, np.rint(small[0].permute(1, 2, 0).numpy().clip(0, 1) * 255) / 255)
    np.testing.assert_allclose(result, expected * 255, atol=0.51)
    with_alpha = Upscaler(net, device="cpu", downscale_first=3).upscale(np.zeros((10, 4, 4), np.uint8))
    assert with_alpha.shape == (12, 4, 4)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_is_close_and_another(net, photograph, precision):
    full = Upscaler(net, device="cpu").upscale(photograph / np.float32(255))
    low = Upscaler(net, device="cpu", precision=precision).upscale(photograph / np.float32(255))
    error = np.abs(full - low)
    assert error.max() < (0.05 if precision == "bf16" else 0.01)
    assert error.max() > 1e-6


def test_what_overflows_is_done_again_in_fp32(photograph):
    net = tiny_student()
    with torch.no_grad():  # features beyond 65504, and back
        net.sr.upsampler[0].weight.mul_(1e8)
        net.sr.upsampler[0].bias.mul_(1e8)
        net.sr.last.weight.div_(1e8)
    expected = Upscaler(net, device="cpu").upscale(photograph)
    with pytest.warns(UserWarning, match="fp16 gave values that are not finite; the image is done again in fp32"):
        result = Upscaler(net, device="cpu", precision="fp16").upscale(photograph)
    np.testing.assert_array_equal(result, expected)
    with torch.no_grad():
        net.sr.last.bias[0] = float("nan")
    with pytest.raises(OptionError, match="in fp32 too: its weights are damaged"):
        Upscaler(net, device="cpu").upscale(photograph)


class _Memory:
    """Stands in for ``restore``: refuses pieces with more pixels than fit."""

    def __init__(self, limit, real, error=torch.OutOfMemoryError("CUDA out of memory")):  # noqa: B008 - raised anew
        self.limit, self.real, self.error, self.tried = limit, real, error, []

    def __call__(self, net, colour, canvas, tile, *rest):
        self.tried.append(tile)
        side = max(colour.shape[:2]) if tile is None else tile
        if side > self.limit:
            raise self.error
        self.real(net, colour, canvas, tile, *rest)


def test_out_of_memory_halves_the_tile_and_goes_on(net, monkeypatch):
    image = np.random.default_rng(0).integers(0, 255, (300, 500, 3), dtype=np.uint8)
    expected = Upscaler(net, device="cpu", tile=125).upscale(image)
    short = _Memory(130, module.restore)
    monkeypatch.setattr(module, "restore", short)
    upscaler = Upscaler(net, device="cpu", tile="off")
    np.testing.assert_array_equal(upscaler.upscale(image), expected)
    assert short.tried == [None, 250, 125]
    # The next image starts with what fitted.
    upscaler.upscale(image)
    assert short.tried[3:] == [125]
    short.limit, short.tried = 10, []
    with pytest.raises(torch.OutOfMemoryError):
        Upscaler(net, device="cpu", tile="off").upscale(image)
    assert short.tried == [None, 250, 125, 96]


@pytest.mark.parametrize(
    "words",
    [
        "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
        "9216000000 bytes. Error code 12 (Cannot allocate memory)",
        "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes.",
        "could not create a primitive",
        "could not create a memory object",
        "std::bad_alloc",
        "bad allocation",
    ],
)
def test_memory_errors_without_a_class_halve_the_tile(net, monkeypatch, words):
    image = np.random.default_rng(0).integers(0, 255, (120, 200, 3), dtype=np.uint8)
    expected = Upscaler(net, device="cpu", tile=100).upscale(image)
    short = _Memory(130, module.restore, RuntimeError(words))
    monkeypatch.setattr(module, "restore", short)
    np.testing.assert_array_equal(Upscaler(net, device="cpu", tile="off").upscale(image), expected)
    assert short.tried == [None, 100]


def test_other_errors_are_not_taken_for_a_lack_of_memory(net, photograph, monkeypatch):
    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(module, "restore", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        Upscaler(net, device="cpu").upscale(photograph)
    assert memory.is_out_of_memory(MemoryError())
    assert memory.is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    assert memory.is_out_of_memory(RuntimeError("MPS backend out of memory"))
    assert not memory.is_out_of_memory(RuntimeError("shape mismatch"))


def test_the_automatic_tile_follows_the_memory(monkeypatch):
    cpu, free = torch.device("cpu"), []
    monkeypatch.setattr(memory, "free_memory", lambda device: free[-1])
    sides = []
    for size in (1 << 20, 256 << 20, 1 << 30, 64 << 30, 1 << 40):
        free.append(size)
        sides.append(memory.fitting_tile(2368, 4, 1000, cpu))
    assert sides == sorted(sides)
    assert sides[0] == 96
    assert sides[1] < sides[2]
    assert sides[-1] == sides[-2]
    assert all(side % 4 == 0 for side in sides)
    assert memory.fitting_tile(1280, 4, 1000, cpu) > sides[-1]
    # A row of tiles is joined in memory: the wider the image, the lower the row.
    assert memory.fitting_tile(2368, 4, 200_000, cpu) == 96


def test_free_memory_is_told_by_the_system():
    assert 0 < memory.free_memory(torch.device("cpu")) < 1 << 50


def test_several_threads_share_one_upscaler(net):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (30 + 7 * n, 40 - n, 3), dtype=np.uint8) for n in range(8)]
    upscaler = Upscaler(net, device="cpu", precision="bf16")
    expected = [Upscaler(net, device="cpu", precision="bf16").upscale(image) for image in images]
    results = [None] * len(images)

    def work(number):
        results[number] = upscaler.upscale(images[number])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, reference)


def test_it_prints_nothing(net, photograph, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Upscaler(net, device="cpu", tile=96).upscale(np.tile(photograph, (3, 3, 1)))
    assert capfd.readouterr() == ("", "")


def test_the_network_given_is_not_changed(photograph):
    net = tiny_student()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    Upscaler(net, device="cpu", precision="fp16").upscale(photograph)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_a_probe_reads_the_representation(net, photograph, tmp_path):
    channels = 4 * net.options["num_encoder_feat"]
    reading = Reading(tuple(np.linspace(-1, 1, channels)), 2.0, -100.0, 100.0, 0.3, 0.9)
    probe = DegradationProbe({"sigma": reading})
    path = tmp_path / "a.safetensors"
    save_model(path, net.state_dict(), ModelCard(probe=probe))
    upscaler = Upscaler.from_checkpoint(path, device="cpu")
    with torch.no_grad():
        representation = net.represent(torch.from_numpy(photograph).permute(2, 0, 1)[None] / 255)[0].numpy()
    expected = float(representation @ np.linspace(-1, 1, channels)) + 2
    assert upscaler.read_degradation(photograph) == {"sigma": pytest.approx(expected, abs=1e-3)}
    assert Upscaler(net, device="cpu").read_degradation(photograph) == {}
    told = probe.describe({"sigma": 2.44})
    assert told == "looks like a Gaussian blur of sigma 2.4 pixels of the sharp image, give or take 0.3"
    assert "or more" in probe.describe({"sigma": 100.0})


def test_self_ensemble_takes_images_of_one_row():
    """A flipped row has a negative stride, which torch does not take."""
    net = tiny_student(2)
    for shape in ((1, 1, 3), (1, 4, 3), (5, 1, 3)):
        big = Upscaler(net, "cpu", self_ensemble=True).upscale(np.full(shape, 90, np.uint8))
        assert big.shape == (2 * shape[0], 2 * shape[1], 3)
