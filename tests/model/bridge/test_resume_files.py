"""Which state a run goes on from: whole, with its networks, and of this run."""

from __future__ import annotations

import re
import shutil

import pytest
import torch

from lightbsr_arch.errors import OptionError


def _flip_a_byte_of_a_weight(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)
    torch.load(path)  # torch sees nothing


DAMAGES = {
    "missing": lambda path: path.unlink(),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-300]),
    "a bit flipped": _flip_a_byte_of_a_weight,
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no checkpoint"),
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["4.state", "net_g_4.pth"])
def test_state_and_its_networks_are_one_thing(finished, capsys, name, damage):
    if (name, damage) == ("4.state", "missing"):
        pytest.skip("then 2.state is the newest")
    DAMAGES[damage](finished.file(name))
    opt, state = finished.load("--auto_resume")
    assert state["iter"] == 2
    assert opt["path"]["pretrain_network_g"] == str(finished.file("net_g_2.pth"))
    told = capsys.readouterr().out
    assert re.search(rf"{re.escape(str(finished.file(name)))} is .*: the .* is used", told)


def test_state_that_the_user_names_is_not_replaced_by_an_older_one(finished):
    finished.file("net_g_4.pth").unlink()
    finished.opt["path"] = {"resume_state": str(finished.file("4.state"))}
    with pytest.raises(OptionError, match=r"path\.resume_state: .*net_g_4\.pth is missing"):
        finished.load()
    finished.opt["path"]["ignore_resume_networks"] = ["network_g"]
    opt, state = finished.load()
    assert state["iter"] == 4
    assert "pretrain_network_g" not in opt["path"]


def test_run_none_of_whose_states_is_whole_does_not_start_anew_unasked(finished):
    for path in finished.folder.rglob("*.state"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(OptionError, match=r"none of the states in .* can be used: .*4\.state.*2\.state"):
        finished.load("--auto_resume")
    assert finished.file("net_g_4.pth").exists()
    for path in finished.folder.rglob("*.state"):
        path.unlink()
    assert finished.load("--auto_resume")[1] is None


def _change(path, **about):
    content = torch.load(path)
    content["lightbsr"].update(about)
    torch.save(content, path)


@pytest.mark.parametrize("flags", [(), ("--strict",)])
def test_state_of_another_run_is_refused(finished, flags):
    finished.opt["name"] = "other"
    (finished.root / "experiments/run").rename(finished.root / "experiments/other")
    with pytest.raises(OptionError, match=r"4\.state is a state of the run 'run', not of 'other'.*resume_state"):
        finished.load("--auto_resume", *flags)


def test_state_of_another_run_that_the_user_names_is_taken_with_its_networks(finished):
    """Also where this run has networks of that iteration itself."""
    elsewhere = finished.root / "experiments/first"
    shutil.copytree(finished.folder, elsewhere)
    finished.folder.rename(finished.root / "experiments/second")
    second = finished.root / "experiments/second"
    finished.opt.update(name="first", path={"resume_state": str(second / "training_states/4.state")})
    opt, state = finished.load()
    assert state["iter"] == 4
    assert opt["path"]["pretrain_network_g"] == str(second / "models/net_g_4.pth")
    finished.opt["name"] = "third"
    opt, _ = finished.load()
    assert opt["run_id"] != state["lightbsr"]["run"]
    finished.opt["name"] = "run"
    opt, _ = finished.load()
    assert opt["run_id"] == state["lightbsr"]["run"]


def test_networks_of_another_iteration_or_run_are_refused(finished):
    network = finished.file("net_g_4.pth")
    shutil.copy(finished.file("net_g_2.pth"), network)
    with pytest.raises(OptionError, match=r"net_g_4\.pth is of iteration 2, and 4\.state of 4"):
        finished.load("--auto_resume")
    _change(network, iteration=4, run="f" * 32, name="elsewhere")
    with pytest.raises(OptionError, match=r"net_g_4\.pth is of another run \(name 'elsewhere'\)"):
        finished.load("--auto_resume")


def test_state_under_the_number_of_another_iteration_is_refused(finished):
    finished.file("4.state").rename(finished.file("9.state"))
    with pytest.raises(OptionError, match=r"9\.state is the state of iteration 4: restore its name"):
        finished.load("--auto_resume")


def test_files_of_stock_basicsr_are_taken(finished):
    for path in (*finished.folder.rglob("*.state"), *finished.folder.rglob("*.pth")):
        content = torch.load(path)
        del content["lightbsr"]
        torch.save(content, path, _use_new_zipfile_serialization=path.suffix == ".state")
    opt, state = finished.load("--auto_resume")
    assert state["iter"] == 4
    assert opt["path"]["pretrain_network_g"] == str(finished.file("net_g_4.pth"))


def test_network_and_optimiser_of_another_type_are_refused(finished):
    finished.opt["train"]["optim_g"]["type"] = "AdamW"
    with pytest.raises(OptionError, match=r"train\.optim_g\.type: Adam, and the option file says AdamW"):
        finished.load("--auto_resume")
    finished.opt["train"]["optim_g"]["type"] = "Adam"
    finished.opt.update(model_type="SRModel", network_g={"type": "MSRResNet", "upscale": 4})
    for key in ("contrastive_opt", "encoder_iter"):
        del finished.opt["train"][key]
    finished.opt["train"]["scheduler"] = {"type": "MultiStepLR", "milestones": [3]}
    finished.opt["datasets"]["train"].update(degrade_in="loader", views=1)
    with pytest.raises(OptionError, match=r"network_g\.type: LightBSRTeacher, and the option file says MSRResNet"):
        finished.load("--auto_resume")


def test_seed_that_was_drawn_is_kept(finished):
    del finished.opt["manual_seed"]
    _change(finished.file("4.state"), manual_seed=12345)
    opt, _ = finished.load("--auto_resume")
    assert opt["manual_seed"] == 12345
    finished.opt["manual_seed"] = 3
    assert finished.load("--auto_resume")[0]["manual_seed"] == 3
