"""The parameters of one real-world degradation in words: as plain values for JSON, and in one line."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from lightbsr_model.degradation.mixed_kernels import KERNELS
from lightbsr_model.degradation.second_order_params import (
    MODES,
    NOISES,
    OF_AN_ORDER,
    SUFFIXES,
    by_name,
    order_of_operations,
)


def describe_values(values: Tensor) -> dict[str, Any]:
    """One sample's values as nested plain values; what it does not have is left out."""
    row = {name: float(value) for name, value in by_name(values).items()}
    orders = {
        "first" if suffix == "" else "second": _describe_order(row, suffix) for suffix in SUFFIXES[: int(row["orders"])]
    }
    final: dict[str, Any] = {"resize_mode": MODES[int(row["final_mode"])]}
    if row["final_size"]:
        final["sinc"] = {"size": int(row["final_size"]), "cutoff": row["final_cutoff"] * math.pi}
    final["jpeg"] = "before resize and sinc" if row["jpeg_first"] else "after resize and sinc"
    return {"operations": order_of_operations(row), **orders, "final": final, "antialias": bool(row["antialias"])}


def _describe_order(row: Mapping[str, float], suffix: str) -> dict[str, Any]:
    own = {name: row[f"{name}{suffix}"] for name in OF_AN_ORDER}
    described: dict[str, Any] = {}
    if own["kernel"]:
        kind = KERNELS[int(own["kernel"]) - 1]
        described["blur"] = {"kind": kind, "size": int(own["kernel_size"])}
        if kind == "sinc":
            described["blur"]["cutoff"] = own["cutoff"] * math.pi
        else:
            described["blur"] |= {"sigma_x": own["sigma_x"], "sigma_y": own["sigma_y"]}
            described["blur"] |= {"rotation": math.degrees(own["rotation"]), "beta": own["beta"]}
    described["resize"] = {"factor": own["resize"], "mode": MODES[int(own["resize_mode"])]}
    if own["noise"]:
        kind = NOISES[int(own["noise"]) - 1]
        level = "level" if kind == "gaussian" else "scale"
        described["noise"] = {"kind": kind, level: own["noise_level"], "grey": bool(own["grey"])}
    if own["jpeg_quality"]:
        described["jpeg_quality"] = int(own["jpeg_quality"])
    return described


def summary_of(described: Mapping[str, Any]) -> str:
    """What :func:`describe_values` says, in one line."""
    words = []
    for operation in described["operations"]:
        own = described["second" if operation.endswith("2") else "first"]
        name = operation.removesuffix("2")
        words += [] if name == "jpeg" else _in_words(name, own.get(name))
        if name == "jpeg" and "jpeg_quality" in own:
            words.append(f"JPEG {own['jpeg_quality']}")
    final = described["final"]
    last = described["second" if "second" in described else "first"]
    sinc = [f"sinc {final['sinc']['cutoff']:.2f}"] if "sinc" in final else []
    jpeg = [f"JPEG {last['jpeg_quality']}"] if "jpeg_quality" in last else []
    words += [*jpeg, *sinc] if final["jpeg"].startswith("before") else [*sinc, *jpeg]
    return ", ".join(words) or "only resized"


def _in_words(name: str, own: Mapping[str, Any] | None) -> list[str]:
    if own is None or (name == "resize" and own["factor"] == 1):
        return []
    if name == "blur" and own["kind"] == "sinc":
        return [f"sinc {own['cutoff']:.2f}"]
    if name == "blur":
        return [f"{own['kind']} {own['sigma_x']:.2f} x {own['sigma_y']:.2f} px"]
    if name == "resize":
        return [f"{own['mode']} x {own['factor']:.2f}"]
    level = own.get("level", own.get("scale"))
    return [f"{'grey ' if own['grey'] else ''}{own['kind']} noise {level:.1f}"]
