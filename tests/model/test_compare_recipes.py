"""Every recipe of options/compare, and of methods without one there, trains and tests, at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.models.sr_model import SRModel

from lightbsr_model.bridge import launcher
from lightbsr_model.option_files.whole_options import read_options

from support.helpers import ROOT
from support.method_cases import ALL, CASES

SMALL = {
    **{case.network: dict(case.small) for case in ALL},
    "DASR": {**CASES["DASR"].small, "queue_size": 15},  # batches of 3
    "EDSR": {"num_feat": 8, "num_block": 1},
    "MSRResNet": {"num_feat": 8, "num_block": 1},
    "RCAN": {"num_feat": 16, "num_group": 1, "num_block": 1},
    "RRDBNet": {"num_feat": 8, "num_block": 1, "num_grow_ch": 4},
    "SwinIR": {"img_size": 8, "depths": [2], "embed_dim": 12, "num_heads": [2]},
}
RECIPES = [
    *sorted((ROOT / "options/compare").glob("train_*.yml")),
    *(ROOT / "options/dssr" / name for name in ("train.yml", "train_setting2.yml")),
]
RECIPES += [ROOT / f"options/mrda/train_{stage}.yml" for stage in ("mln", "meta", "teacher", "student")]
RECIPES += [ROOT / "options/lce/train.yml", ROOT / "options/lce/train_setting2.yml"]


def _shrunk(path: Path, images: Path, folder: Path) -> dict:
    opt = read_options(path).options
    opt.update(name="run", num_gpu=0)
    for dataset in opt["datasets"].values():
        dataset.update(dataroot_gt=str(images), io_backend={"type": "disk"})
    opt["datasets"]["train"].update(gt_size=32, batch_size_per_gpu=3, num_worker_per_gpu=0, pin_memory=False)
    opt["network_g"].update(SMALL[opt["network_g"]["type"]])
    if opt["datasets"]["train"]["type"] == "RealESRGANDataset":
        _shrink_real_esrgan(opt, images)
    if "teacher" in opt:
        kind = opt["teacher"]["network"]["type"]
        opt["teacher"]["path"] = _checkpoint(kind, folder)
        opt["teacher"]["network"].update(SMALL[kind])
    for key in ("pretrain_network_g", "pretrain_network_meta"):
        if opt["path"].get(key):
            opt["path"][key] = _checkpoint("MetaLearningNetwork", folder)
    train = opt["train"]
    if "meta_opt" in train:
        train["meta_opt"]["tasks"] = 3
    train["total_iter"] = 4
    if train.get("encoder_iter"):
        train["encoder_iter"] = 2
    scheduler = train["scheduler"]
    for key in ("encoder_step", "joint_step", "warmup_iter", "step_iter"):
        if key in scheduler:
            scheduler[key] = 1
    if "periods" in scheduler:
        scheduler["periods"], train["warmup_iter"] = [4], 1
    opt["val"]["val_freq"] = 4
    opt["logger"].update(print_freq=1, save_checkpoint_freq=4, use_tb_logger=False)
    return opt


def _shrink_real_esrgan(opt: dict, images: Path) -> None:
    names = images.parent / "names.txt"
    names.write_text("".join(f"{path.name}\n" for path in sorted(images.iterdir())))
    opt["datasets"]["train"]["meta_info"] = str(names)
    opt.update(gt_size=32, queue_size=6)
    opt["path"]["pretrain_network_g"] = None
    if "network_d" in opt:
        opt["network_d"]["num_feat"] = 4
    opt["train"]["perceptual_opt"] = None  # its weights would be downloaded


def _checkpoint(network: str, folder: Path) -> str:
    path = folder / f"{network}.pth"
    torch.save({"params": CASES[network].build().state_dict()}, path)
    return str(path)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}_{path.stem}")
def test_trains_and_tests(path, run, tmp_path, image_folder, monkeypatch):
    torch.manual_seed(0)
    opt = _shrunk(path, image_folder, tmp_path)
    results = []
    # Rows of the log have four decimals.
    monkeypatch.setattr(
        SRModel, "_log_validation_metric_values", lambda self, *_: results.append(dict(self.metric_results))
    )
    run(launcher.train, opt)
    checkpoint = tmp_path / "experiments/run/models/net_g_latest.pth"
    before = torch.load(tmp_path / "experiments/run/models/net_g_4.pth")["params"]
    assert all(torch.equal(value, before[key]) for key, value in torch.load(checkpoint)["params"].items())
    count = len(opt["datasets"]) - 1
    validated = results[-count:] if count else []
    results.clear()
    weights = "params_ema" if opt["train"]["ema_decay"] else "params"
    test_sets = {key.replace("val", "test"): value for key, value in opt["datasets"].items() if key != "train"}
    run(
        launcher.test,
        {
            **{key: opt[key] for key in ("model_type", "scale", "num_gpu", "manual_seed", "network_g")},
            "name": "test",
            "datasets": test_sets,
            "path": {"pretrain_network_g": str(checkpoint), "param_key_g": weights},
            "val": {"save_img": False, "suffix": None, "metrics": opt["val"]["metrics"]},
        },
    )
    assert len(validated) == len(results) == count
    # In training weights are in channels-last layout, which sums in another order: rarely a rounded pixel differs.
    for during, after in zip(validated, results, strict=True):
        assert during["psnr"] == pytest.approx(after["psnr"], abs=1e-3)
