"""Real-world degradations computed by SciPy, OpenCV, NumPy, Pillow and BasicSR's kernels."""

from __future__ import annotations

import io
import math

import cv2
import numpy as np
import scipy.ndimage
from basicsr.data import degradations as basicsr
from PIL import Image


def _area(pixels, size):
    bins = [
        [range(place * old // new, -(-(place + 1) * old // new)) for place in range(new)]
        for old, new in zip(pixels.shape[:2], size, strict=True)
    ]
    return np.array([[pixels[np.ix_(rows, columns)].mean((0, 1)) for columns in bins[1]] for rows in bins[0]])


class ByHand:
    """By SciPy, OpenCV, NumPy, Pillow and BasicSR's kernels, from a description alone."""

    def __init__(self, gt, scale, seed):
        self.pixels = gt.permute(1, 2, 0).double().numpy()
        self.size = self.pixels.shape[0], self.pixels.shape[1]
        self.low = self.size[0] // scale, self.size[1] // scale
        self.random = np.random.RandomState(seed)

    def run(self, described):
        """The LR image, (H, W, 3) of integers in 0..255."""
        last = described.get("second", described["first"])
        for name in described["operations"]:
            own = described["second" if name.endswith("2") else "first"]
            plain = name.removesuffix("2")
            if plain == "resize":
                base = self.low if own is last else self.size
                size = tuple(max(1, int(side * own["resize"]["factor"])) for side in base)
                self.resize(size, own["resize"]["mode"])
            elif plain == "jpeg":
                self.jpeg(own.get("jpeg_quality"))
            elif plain in own:
                getattr(self, plain)(**own[plain])
        final = described["final"]
        is_first = final["jpeg"].startswith("before")
        if is_first:
            self.jpeg(last.get("jpeg_quality"))
        self.resize(self.low, final["resize_mode"])
        if "sinc" in final:
            self.blur("sinc", **final["sinc"])
        if not is_first:
            self.jpeg(last.get("jpeg_quality"))
        return np.clip(np.round(self.pixels), 0, 255)

    def blur(self, kind, size, sigma_x=1, sigma_y=1, rotation=0, beta=1, cutoff=1):
        angle, flat = math.radians(rotation), not kind.endswith("aniso")
        if kind == "sinc":
            kernel = basicsr.circular_lowpass_kernel(cutoff, size)
        elif kind.startswith("plateau"):
            kernel = basicsr.bivariate_plateau(size, sigma_x, sigma_y, angle, beta, isotropic=flat)
        else:
            kernel = basicsr.bivariate_generalized_Gaussian(size, sigma_x, sigma_y, angle, beta, isotropic=flat)
        self.pixels = scipy.ndimage.convolve(self.pixels, kernel[:, :, None], mode="mirror")

    def resize(self, size, mode):
        if size == self.pixels.shape[:2]:
            return
        if mode == "area":
            self.pixels = _area(self.pixels, size)
        else:
            flag = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[mode]
            self.pixels = cv2.resize(self.pixels, size[::-1], interpolation=flag)

    def noise(self, kind, grey, level=0.0, scale=0.0):
        height, width, _ = self.pixels.shape
        if kind == "gaussian":
            noise = level * self.random.standard_normal((1 if grey else 3, height, width)).transpose(1, 2, 0)
        else:
            seen = self.pixels @ [[0.2989], [0.587], [0.114]] if grey else self.pixels
            values = np.clip(np.round(seen), 0, 255)
            levels = 2 ** np.ceil(np.log2(len(np.unique(values))))
            counts = self.random.poisson(values.transpose(2, 0, 1) / 255 * levels).transpose(1, 2, 0)
            noise = scale * (counts / levels * 255 - values)
        self.pixels = np.clip(self.pixels + noise, 0, 255)

    def jpeg(self, quality):
        if quality is None:
            return
        file = io.BytesIO()
        Image.fromarray(np.clip(np.round(self.pixels), 0, 255).astype(np.uint8)).save(file, "JPEG", quality=quality)
        self.pixels = np.asarray(Image.open(file)).astype(np.float64)
