"""All mistakes of an option file at once, each with its key and line; nothing in a file is run."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import yaml

import lightbsr
from lightbsr_arch import LightBSR
from lightbsr_model.bridge import launcher
from lightbsr_model.option_files.document import force_options, parse_document, read_document
from lightbsr_model.option_files.option_check import OptionProblems, check_options

from support.helpers import ROOT, TINY
from support.method_cases import CASES
from support.option_problems import problems_of
from support.training_files import training_options

TWENTY_MISTAKES = """\
name: run
model_type: LightBSRTeacherModle
model_type: LightBSRTeacherModel
scale: 4
scail: 4
num_gpu: auto
manual_seed: -1
datasets:
  train:
    name: train
    type: BlindDegradationPairedDataset
    dataroot_gt: {images}
    preset: seting1_x4
    gt_size: 128
    veiws: 2
    num_worker_per_gpu: 0
    batch_size_per_gpu: 64
  vall:
    name: val
    type: BlindDegradationBenchmarkDataset
    dataroot_gt: /nowhere/Set5
    preset: bicubic
network_g:
  type: LightBSRTeacher
  scale: 2
  num_featt: 8
  num_block: many
path:
  pretrain_network_g: /nowhere/net.pth
  strict_laod_g: true
train:
  total_iter: 100
  encoder_iter: 200
  ema_decy: 0.9
  optim_g: {{type: Adamm, lr: 2e-4}}
  scheduler: {{type: TwoPhaseCosineLR, warmup: 3}}
  contrastive_opt: {{type: DegradationContrastiveLoss, temprature: 0.1}}
  pixel_opt: {{type: L1Los, loss_weight: 255.0}}
val:
  val_freq: often
  save_img: false
  metrics:
    psnr: {{type: calculate_pnsr, crop_border: 4}}
logger:
  print_freq: 0
  save_checkpoint_freq: 10
  use_tb_loger: true
"""

EXPECTED = {
    3: "model_type: given twice, first in line 2",
    5: "scail: unknown key; did you mean scale",
    7: "manual_seed: expected an integer from 0 to .*, got -1",
    13: "no degradation is named 'seting1_x4'; did you mean setting1_x4",
    14: "gt_size: 128, but .* is 96x80",
    15: "datasets:train:veiws: unknown key; did you mean views",
    17: "batch_size_per_gpu: 64, but 6 images",
    18: "datasets:vall: expected train or val",
    21: "datasets:vall:dataroot_gt: there is no folder /nowhere/Set5",
    25: "network_g:scale: 2, but scale is 4",
    26: "network_g:num_featt: unknown key; did you mean num_feat",
    27: "network_g:num_block: expected an integer from 1 to 1024, got 'many'",
    29: "path:pretrain_network_g: there is no file /nowhere/net.pth",
    30: "path:strict_laod_g: unknown key; did you mean strict_load_g",
    33: "train:encoder_iter: expected at most total_iter, 100, got 200",
    34: "train:ema_decy: unknown key; did you mean ema_decay",
    35: "train:optim_g:type: no optimiser is named 'Adamm'; did you mean Adam",
    36: "train:scheduler:warmup: unknown key; did you mean warmup_iter",
    37: "train:contrastive_opt:temprature: unknown key; did you mean temperature",
    38: "train:pixel_opt:type: no loss is named 'L1Los'; did you mean L1Loss",
    40: "val:val_freq: expected an integer >= 1, got 'often'",
    43: "val:metrics:psnr:type: no metric is named 'calculate_pnsr'; did you mean calculate_psnr",
    45: "logger:print_freq: expected an integer >= 1, got 0",
    47: "logger:use_tb_loger: unknown key; did you mean use_tb_logger",
}


def test_more_than_twenty_mistakes_are_reported_in_one_go(image_folder):
    problems = problems_of(TWENTY_MISTAKES.format(images=image_folder))
    by_line: dict[int, list[str]] = {}
    for problem in problems:
        match = re.match(r"line (\d+), (.*)", problem)
        assert match is not None, problem
        by_line.setdefault(int(match[1]), []).append(match[2])
    for line, message in EXPECTED.items():
        assert any(re.search(message, problem) for problem in by_line.get(line, [])), (line, message, by_line.get(line))
    assert set(by_line) <= {*EXPECTED, 9}, by_line
    assert len(EXPECTED) >= 20


@pytest.mark.parametrize("command", ["check", "train", "test"])
def test_code_in_a_file_is_refused_and_not_run(tmp_path, monkeypatch, capsys, image_folder, command):
    monkeypatch.chdir(tmp_path)
    text = yaml.safe_dump(training_options(image_folder)).replace(
        "name: run", "name: !!python/object/apply:os.mkdir [exploded]"
    )
    Path("run.yml").write_text(text)
    monkeypatch.setattr(sys, "argv", ["lightbsr"])
    assert lightbsr.main([command, "-opt", "run.yml"]) == 2
    message = capsys.readouterr().err
    assert "!!python/object/apply:os.mkdir is refused: it could run code" in message.replace("tag:yaml.org,2002:", "!!")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x {c: 1}\nb:\n  <<: *x\n", "line 3, b: a merge key"),
        ("- 1\n- 2\n", "expected keys and values"),
        ("a: !!int many\n", "'many' is no int"),
        ("a: !custom 3\n", "the tag !custom is refused"),
    ],
)
def test_what_is_no_plain_yaml(text, message):
    problems = [str(problem) for problem in parse_document(text).problems]
    assert any(re.search(message, problem) for problem in problems), problems


def test_numbers_and_words():
    values = parse_document("a: 2e-4\nb: !!float 3e-5\nc: -1\nd: 1E3\ne: 2e\nf: '2e-4'\ng: ~\nh: 2020-01-01\n").options
    assert values == {"a": 2e-4, "b": 3e-5, "c": -1, "d": 1000.0, "e": "2e", "f": "2e-4", "g": None, "h": "2020-01-01"}


def test_forced_values():
    document = parse_document("train:\n  total_iter: 5\n  lr: 1\nname: a\n")
    force_options(
        document,
        [
            "train:total_iter=-3",
            "train:lr=2e-4",
            "train:betas=[0.9, 0.99]",
            "new:section:key=1",
            "name=x=y",
            "train:a=None",
            "b=true",
        ],
    )
    assert document.options == {
        "train": {"total_iter": -3, "lr": 2e-4, "betas": [0.9, 0.99], "a": None},
        "name": "x=y",
        "new": {"section": {"key": 1}},
        "b": True,
    }
    assert document.problems == []
    force_options(document, ["nothing", "name:deeper=1", "a=!!python/name:os.system", 'c=__import__("os")'])
    messages = [str(problem) for problem in document.problems]
    assert len(messages) == 3
    assert "expected KEY:KEY=VALUE" in messages[0]
    assert "name is a value, not a section" in messages[1]
    assert "refused" in messages[2]
    assert document.options["c"] == '__import__("os")'


def test_gpus_that_are_not_there(image_folder, capsys, run):
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    opt = training_options(image_folder, num_gpu=1)
    assert problems_of(opt) == []
    assert problems_of(opt, strict=True) == ["line 3, num_gpu: 1 asked for, 0 found; `auto` takes what there is"]
    run(launcher.train, opt)
    assert "num_gpu: 1 asked for, 0 found" in capsys.readouterr().err


def test_checkpoint_of_another_architecture(image_folder, tmp_path):
    torch.save({"params": LightBSR(scale=4, **{**TINY, "num_feat": 12}).state_dict()}, tmp_path / "net.pth")
    opt = training_options(image_folder, path={"pretrain_network_g": str(tmp_path / "net.pth")})
    problems = problems_of(opt)
    assert len(problems) == 1
    assert "is of another network than LightBSRTeacher" in problems[0]
    (tmp_path / "net.pth").write_bytes(b"no checkpoint")
    assert "not a checkpoint that can be read safely" in problems_of(opt)[0]


def test_teacher_that_does_not_fit(image_folder, tmp_path):
    case = CASES["LightBSR"]
    opt = case.apply(training_options(image_folder), case.save_teacher(tmp_path))
    opt["network_g"]["num_block"] = 3
    problems = problems_of(opt)
    assert len(problems) == 1
    assert "num_block: teacher 2, student 3" in problems[0]
    opt["teacher"]["path"] = "/nowhere.pth"
    assert "no such checkpoint: /nowhere.pth" in problems_of(opt)[0]


def test_sizes_that_do_not_fit_each_other(image_folder):
    problems = problems_of(training_options(image_folder, network_g={"num_encoder_feat": 6}))
    assert len(problems) == 1
    assert "network_g: idr_channels: expected a multiple of 16" in problems[0]


def test_missing_keys_and_sections(image_folder):
    problems = problems_of("name: a\nmodel_type: SRModel\n")
    assert {problem.partition(";")[0] for problem in problems} == {
        *("datasets: missing", "num_gpu: missing", "network_g: missing", "train: missing", "logger: missing")
    }
    opt = training_options(image_folder)
    del opt["datasets"]["train"]["batch_size_per_gpu"], opt["train"]["scheduler"]
    problems = problems_of(opt)
    assert any("datasets:train:batch_size_per_gpu: missing" in problem for problem in problems)
    assert any("train:scheduler: missing" in problem for problem in problems)


def test_unreadable_image_header_is_left_to_the_loader(image_folder, tmp_path):
    for path in image_folder.glob("*.png"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "text.png").write_text("no image")
    assert problems_of(training_options(tmp_path)) == []
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((16, 40, 3), np.uint8))
    assert any("small.png is 40x16" in problem for problem in problems_of(training_options(tmp_path)))


@pytest.mark.parametrize("name", ["train_teacher", "test_bicubic"])
def test_check_command(name, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    assert lightbsr.main(["check", "-opt", str(ROOT / f"options/demo/{name}.yml")]) == 0
    assert "no problem found" in capsys.readouterr().out
    assert (
        lightbsr.main(["check", "-opt", str(ROOT / f"options/demo/{name}.yml"), "--force_yml", "network_g:scale=3"])
        == 2
    )
    assert "network_g:scale: 3, but scale is 4" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB, r"line \d+, the file: not YAML: more than 20000 values"),
        ("a: &x [*x, *x]\n", "nested more than 50|more than 20000 values"),
        ("name: run\n\tscale: 4\n", "line 2, the file: not YAML: .*cannot start any token"),
        ("a: 1\n---\nb: 1\n", "line 2, the file: not YAML: expected a single document.*another document"),
        ("a: 1\nb: *nowhere\n", "line 2, the file: not YAML: found undefined alias"),
        ("a: " + "[" * 5000, "nested more than 50 deep"),
        ("a: 1\nb: \0\n", "line 2, the file: not YAML: the character 0x00"),
        ("a: 1\nb: \xe9\n".encode("latin-1"), "line 2, the file: not UTF-8"),
        ("a: 1\n".encode("utf-16"), "line 1, the file: not UTF-8"),
    ],
)
def test_what_is_no_yaml_is_the_only_problem(content, message, tmp_path):
    path = tmp_path / "run.yml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(OptionProblems) as raised:
        check_options(read_document(path), "run.yml", is_train=True)
    assert len(raised.value.problems) == 1
    assert re.search(message, str(raised.value.problems[0])), raised.value


def test_aliases_are_written_out():
    document = parse_document("a: &x {c: 1}\nb: *x\n")
    assert document.options == {"a": {"c": 1}, "b": {"c": 1}}
    assert parse_document("a: !!bool maybe\nb: !!int ''\n").problems[1].message == "'' is no int"
