"""A run whose option file has a ``base``: what it keeps of its options, and how it is resumed."""

from __future__ import annotations

import re

import torch
import yaml

from lightbsr_arch.weights.training_summary import card_of_training
from lightbsr_model.bridge import launcher
from lightbsr_model.option_files.document import parse_document
from lightbsr_model.option_files.whole_options import read_options, whole_text

from support.training_files import training_options


def _changes(log: str) -> list[str]:
    return sorted(re.findall("Resumed with a change: (.*): taken from the file", log))


def _copied(finished) -> str:
    """The copy of the option file, without the lines that BasicSR puts above it."""
    lines = (finished.folder / "run.yml").read_text().splitlines(keepends=True)
    assert lines[0].startswith("# GENERATE TIME")
    return "".join(lines[4:])


def test_a_run_with_a_base_goes_on_from_one_without_and_keeps_the_whole_text(finished):
    """``finished`` was trained from one whole file: the same options over a base are no change."""
    whole = finished.opt
    (finished.root / "below.yml").write_text(yaml.safe_dump({**whole, "manual_seed": 7, "name": "other"}))
    finished.opt = {"base": "below.yml", "name": whole["name"], "manual_seed": whole["manual_seed"]}
    finished.file("4.state").unlink()
    log = finished.train("--auto_resume", "--force_yml", "logger:print_freq=2")
    assert "Resuming training from epoch: 0, iter: 2" in log
    assert _changes(log) == []
    text = whole_text(read_options(finished.root / "run.yml", ["logger:print_freq=2"]).options)
    assert _copied(finished) == text
    about = torch.load(finished.file("net_g_4.pth"))["lightbsr"]
    assert about["option_file"] == text
    assert about["options"] == {**whole, "logger": {**whole["logger"], "print_freq": 2}}
    assert parse_document(text).options["network_g"]["queue_size"] == whole["network_g"]["queue_size"]
    card = card_of_training(about)
    assert (card.setting, card.training["encoder_iterations"]) == ("setting1_x4", 2)

    # The copy is an option file for the same run: defaults that it gives, and the state's options do not, are no change ...
    short, finished.opt = finished.opt, yaml.safe_load(_copied(finished))
    finished.file("4.state").unlink()
    assert _changes(finished.train("--auto_resume")) == []
    # ... nor are those that the state's options give alone. A value that is no default is one.
    finished.opt = {**short, "network_g": {"momentum": 0.5}, "train": {"total_iter": 6}}
    assert _changes(finished.train("--auto_resume")) == ["network_g.momentum 0.999 -> 0.5", "train.total_iter 4 -> 6"]


def test_a_file_without_a_base_is_copied_as_it_is(finished):
    about = torch.load(finished.file("net_g_4.pth"))["lightbsr"]
    assert _copied(finished) == about["option_file"] == (finished.root / "run.yml").read_text()


def test_a_resumed_run_is_found_by_the_name_in_its_base(image_folder, tmp_path, monkeypatch):
    folder = tmp_path / "there/experiments/run/training_states"
    folder.mkdir(parents=True)
    (folder / "2.state").touch()
    (tmp_path / "there/below.yml").write_text(yaml.safe_dump(training_options(image_folder)))
    (tmp_path / "there/run.yml").write_text("base: below.yml\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["lightbsr", "-opt", "there/run.yml"])
    assert launcher._enter_root(["-opt", "there/run.yml", "--auto_resume"]) == tmp_path / "there"
    monkeypatch.chdir(tmp_path)
    forced = ["--force_yml", "name=another"]
    assert launcher._enter_root(["-opt", "there/run.yml", "--auto_resume", *forced]) == tmp_path
