"""Every recipe of options/compare, and of methods without one there, trains and tests, at a small size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from basicsr.models.sr_model import SRModel

from lightbsr_model.bridge import launcher
from lightbsr_model.option_files.whole_options import read_options

from support.helpers import ROOT
from support.method_cases import CASES

SMALL = {
    **{name: dict(case.small) for name, case in CASES.items()},
    "DASR": {**CASES["DASR"].small, "queue_size": 15},  # batches of 3
    "EDSR": {"num_feat": 8, "num_block": 1},
    "MSRResNet": {"num_feat": 8, "num_block": 1},
    "RCAN": {"num_feat": 16, "num_group": 1, "num_block": 1},
    "SwinIR": {"img_size": 8, "depths": [2], "embed_dim": 12, "num_heads": [2]},
}
RECIPES = sorted((ROOT / "options/compare").glob("train_*.yml"))
RECIPES += [ROOT / "options/lce/train.yml", ROOT / "options/lce/train_setting2.yml"]


def _shrunk(path: Path, images: Path, teacher: Path) -> dict:
    opt = read_options(path).options
    opt.update(name="run", num_gpu=0)
    for dataset in opt["datasets"].values():
        dataset.update(dataroot_gt=str(images), io_backend={"type": "disk"})
    opt["datasets"]["train"].update(gt_size=32, batch_size_per_gpu=3, num_worker_per_gpu=0, pin_memory=False)
    opt["network_g"].update(SMALL[opt["network_g"]["type"]])
    if "teacher" in opt:
        opt["teacher"]["path"] = str(teacher)
        opt["teacher"]["network"].update(SMALL["KDSRTeacher"])
    train = opt["train"]
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


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_trains_and_tests(path, run, tmp_path, image_folder, monkeypatch):
    torch.manual_seed(0)
    torch.save({"params": CASES["KDSRTeacher"].build().state_dict()}, tmp_path / "teacher.pth")
    opt = _shrunk(path, image_folder, tmp_path / "teacher.pth")
    results = []
    # Rows of the log have four decimals.
    monkeypatch.setattr(
        SRModel, "_log_validation_metric_values", lambda self, *_: results.append(dict(self.metric_results))
    )
    run(launcher.train, opt)
    checkpoint = tmp_path / "experiments/run/models/net_g_latest.pth"
    before = torch.load(tmp_path / "experiments/run/models/net_g_4.pth")["params"]
    assert all(torch.equal(value, before[key]) for key, value in torch.load(checkpoint)["params"].items())
    validated = results[-3:]
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
    assert len(validated) == len(results) == 3
    # In training weights are in channels-last layout, which sums in another order: rarely a rounded pixel differs.
    for during, after in zip(validated, results, strict=True):
        assert during["psnr"] == pytest.approx(after["psnr"], abs=1e-3)
