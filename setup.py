"""All metadata of the package; pyproject.toml holds the build system and the tools' settings."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "lightbsr_arch/version.py").read_text()).group(1)

EXPORT = ["onnx", "onnxscript", "onnxruntime"]
SPANDREL = ["spandrel>=0.4"]

setup(
    name="lightbsr",
    version=VERSION,
    description="LightBSR, lightweight blind super-resolution, trained and tested in BasicSR's own loop",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=[*find_packages(include=["lightbsr*"]), "lightbsr_model.options"],
    # The option files are shown at the top of the repository, and installed where the command finds them.
    package_dir={"lightbsr_model.options": "options"},
    package_data={
        "lightbsr_arch": ["py.typed", "pretrained/*", "pretrained/helpers/*"],
        "lightbsr_model": ["py.typed", "evaluation/comparison/*.csv"],
        "lightbsr_model.options": ["*.yml", "*/*.yml", "lightbsr.schema.json"],
    },
    install_requires=[
        # Its sdist does not build on 3.13 (KeyError: '__version__'); older releases lack what this project registers to.
        "basicsr>=1.4.2; python_version < '3.13'",
        "torch>=2.3",  # torch.amp.GradScaler for any device, LRScheduler by its public name, weights_only loading
        "torchvision",
        "opencv-python",
        "numpy",
        "pillow",
        "tifffile",
        "lmdb",
        # Unpacks PNGs for random crops two to three times as fast as zlib, which is taken where it is not.
        "isal; platform_machine in 'x86_64 AMD64 aarch64 arm64'",
        "pyyaml",
        "safetensors",
        "tqdm",
    ],
    extras_require={
        "plot": ["matplotlib", "scikit-learn"],
        "metrics": ["torchmetrics"],
        "export": EXPORT,
        "spandrel": SPANDREL,
        "raw": ["rawpy"],
        "test": [
            *("pytest", "pytest-xdist>=3.7", "ruff", "mypy", "types-PyYAML", "types-tqdm"),
            *("matplotlib", "scikit-learn", "torchmetrics"),
            *EXPORT,
            *SPANDREL,
        ],
    },
    entry_points={"console_scripts": ["lightbsr = lightbsr:main"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Intended Audience :: Science/Research",
        "Operating System :: OS Independent",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Scientific/Engineering :: Image Processing",
        "Typing :: Typed",
    ],
)
