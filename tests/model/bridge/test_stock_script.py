"""BasicSR's unmodified scripts train and test LightBSR in an activated environment."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import cv2
import pytest
import torch

from lightbsr.activation import installed_basicsr
from lightbsr_arch import LightBSR

from support.helpers import ROOT, TINY

pytestmark = pytest.mark.slow

SMALL = [
    *(f"network_g:{key}={value}" for key, value in TINY.items()),
    "datasets:train:gt_size=32",
    "datasets:train:num_worker_per_gpu=0",
    "datasets:train:batch_size_per_gpu=2",
    "datasets:train:dataset_enlarge_ratio=20",
    "datasets:train:pin_memory=false",
    "train:scheduler:warmup_iter=2",
    "train:scheduler:step_iter=1",
    "logger:print_freq=1",
    "logger:use_tb_logger=false",
    "val:val_freq=1000",
]


class Workplace:
    """A virtual environment in which LightBSR is installed and activated, and BasicSR's files beside options/."""

    def __init__(self, folder: Path, images: Path) -> None:
        self.folder = folder
        environment = folder / "environment"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
        self.python = environment / "bin" / "python"
        # What is installed in this environment is installed there, editable installs too.
        site_packages = Path(self._output("import sysconfig; print(sysconfig.get_path('purelib'))"))
        outer = sysconfig.get_path("purelib")
        (site_packages / "a_outer.pth").write_text(f"import site; site.addsitedir({outer!r})\n")
        # The sdist's tree: basicsr/ in a folder of its own. It has no options, so ours lie beside it.
        shutil.copytree(installed_basicsr(), folder / "basicsr", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copytree(ROOT / "options", folder / "options")
        self.data = [f"datasets:train:dataroot_gt={images}", "datasets:train:io_backend:type=disk"]
        self.data += [f"datasets:val_{number}:dataroot_gt={images}" for number in (1, 2, 3)]

    def _output(self, code: str) -> str:
        return subprocess.run([self.python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()

    def command(self, *words: str) -> list[str]:
        return [str(self.python), *words]

    def run(self, *words: str) -> str:
        done = subprocess.run(self.command(*words), cwd=self.folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, image_folder):
    place = Workplace(tmp_path_factory.mktemp("BasicSR-1.4.2"), image_folder)
    place.run("-m", "lightbsr", "activate")
    return place


def test_train_kill_resume_and_test(workplace, tmp_path):
    experiments = workplace.folder / "experiments"
    teacher_opt = [
        "train:total_iter=60",
        "train:encoder_iter=6",
        "logger:save_checkpoint_freq=4",
        "network_g:queue_size=32",
    ]
    words = ["basicsr/train.py", "-opt", "options/train_teacher.yml"]
    force = ["--force_yml", *SMALL, *workplace.data, *teacher_opt]

    # Killed in the midst of the joint phase ...
    states = experiments / "train_LightBSR_teacher_x4_setting1" / "training_states"
    process = subprocess.Popen(
        workplace.command(*words, *force), cwd=workplace.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _wait_for(lambda: len(list(states.glob("*.state"))) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    newest = max(int(path.stem) for path in states.glob("*.state"))
    assert newest < 60

    # ... and started again, from another working directory, it goes on.
    words = [str(workplace.folder / word) if "/" in word else word for word in words]
    done = subprocess.run(
        workplace.command(*words, "--auto_resume", *force), cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    log = done.stdout + done.stderr
    assert done.returncode == 0, log[-3000:]
    resumed = re.search(r"Resuming training from epoch: \d+, iter: (\d+)", log)
    assert resumed is not None
    assert newest - 4 <= int(resumed[1]) <= newest
    iterations = [int(number) for number in re.findall(r"iter:\s+(\d+),", log)]
    assert iterations == list(range(int(resumed[1]) + 1, 61))
    assert "Validation Set5_iso_1.2" in log

    # The student learns from that teacher, both phases.
    sizes = [f"teacher:network:{key}={value}" for key, value in {**TINY, "queue_size": 32}.items()]
    student_opt = ["train:total_iter=8", "train:encoder_iter=4", "logger:save_checkpoint_freq=100", *sizes]
    log = workplace.run(
        "basicsr/train.py", "-opt", "options/train_student.yml", "--force_yml", *SMALL, *workplace.data, *student_opt
    )
    assert "The student starts from its teacher" in log
    assert len(re.findall(r"iter:\s+\d+,.*l_channel: .*l_spatial: ", log)) == 8
    assert len(re.findall(r"iter:\s+\d+,.*l_pix: ", log)) == 4
    path = experiments / "train_LightBSR_student_x4_setting1" / "models" / "net_g_latest.pth"
    LightBSR(scale=4, **TINY).load_state_dict(torch.load(path)["params"])

    # And is tested.
    sizes = [f"network_g:{key}={value}" for key, value in TINY.items()]
    sets = f"{{Set5: {workplace.data[0].split('=')[1]}, Set14: ~, B100: ~, Urban100: ~}}"
    (workplace.folder / "test_here.yml").write_text(
        f"base: options/test_setting1_x4.yml\ndatasets: {{test: {{sets: {sets}}}}}\n"
    )
    log = workplace.run(
        "basicsr/test.py", "-opt", "test_here.yml", "--force_yml", *sizes, "val:save_img=true", "val:suffix=sr"
    )
    assert len(re.findall(r"# psnr: \d\d\.\d+", log)) == 4
    picture = next((workplace.folder / "results").rglob("coffee0_iso_2.4_sr.png"))
    assert cv2.imread(str(picture)).shape == (80, 96, 3)


def test_missing_data_name_the_demo(workplace):
    done = subprocess.run(
        workplace.command("basicsr/train.py", "-opt", "options/train_teacher.yml"),
        cwd=workplace.folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert "datasets/DF2K_sub.lmdb is no LMDB in BasicSR's format" in done.stderr
    assert "lightbsr demo" in done.stderr


def test_program_that_only_imports_basicsr_knows_the_names(workplace):
    # And nothing is loaded before basicsr is.
    code = """
import sys
print([name for name in sys.modules if name.startswith(("torch", "lightbsr"))])
from basicsr.archs import build_network
print(type(build_network({"type": "LightBSR", "scale": 2, "num_group": 1})).__name__)
import basicsr.models
from basicsr.utils.registry import MODEL_REGISTRY
print("LightBSRTeacherModel" in MODEL_REGISTRY)
"""
    printed = workplace.run("-c", code).strip().splitlines()
    assert (printed[0], printed[-2:]) == ("[]", ["LightBSR", "True"])


@pytest.mark.parametrize("order", ["theirs, lightbsr_model", "lightbsr_model, theirs"])
def test_packages_that_register_at_import_in_any_order(workplace, tmp_path, order):
    """What realesrgan and gfpgan do: import BasicSR first, and register names that BasicSR has with its suffix."""
    (tmp_path / "theirs.py").write_text(
        "from basicsr.data.degradations import circular_lowpass_kernel\n"
        "from basicsr.utils.registry import ARCH_REGISTRY\n"
        "from torch import nn\n"
        "@ARCH_REGISTRY.register()\n"
        "class SRVGGNetCompact(nn.Module):\n    pass\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import {order}; "
        "from basicsr.utils.registry import ARCH_REGISTRY; "
        "print(ARCH_REGISTRY.get('SRVGGNetCompact').__module__, ARCH_REGISTRY.get('LightBSR').__module__)"
    )
    assert workplace.run("-c", code).splitlines()[-1] == "theirs lightbsr_arch.methods.lightbsr"


def test_link_in_a_clone_of_this_project(workplace, tmp_path, image_folder):
    shutil.copytree(ROOT / "options", tmp_path / "options")

    def run(*words):
        return subprocess.run(workplace.command(*words), cwd=tmp_path, check=True, capture_output=True, timeout=300)

    run("-m", "lightbsr", "activate", "--here")
    short = ["train:total_iter=2", "train:encoder_iter=1", "train:scheduler:warmup_iter=0", "network_g:queue_size=32"]
    short += [f"network_g:{key}={value}" for key, value in TINY.items()]
    short += [
        f"datasets:train:dataroot_gt={image_folder}",
        "datasets:train:io_backend:type=disk",
        "datasets:train:gt_size=64",
    ]
    run("basicsr/train.py", "-opt", "options/small/train_teacher.yml", "--force_yml", *short)
    assert (tmp_path / "experiments/small_teacher/models/net_g_latest.pth").is_file()
    copied = (tmp_path / "experiments/small_teacher/train_teacher.yml").read_text()
    assert "base:" not in copied
    assert "  total_iter: 2\n" in copied
    assert not (installed_basicsr().parent / "experiments").exists()


def test_status_and_deactivation(workplace, tmp_path):
    assert "\nactivated (" in workplace.run("-m", "lightbsr", "status")
    workplace.run("-m", "lightbsr", "deactivate")
    try:
        assert "not activated (" in workplace.run("-m", "lightbsr", "status")
        done = subprocess.run(
            workplace.command("-c", "import basicsr"), cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
        assert "functional_tensor" in done.stderr
    finally:
        workplace.run("-m", "lightbsr", "activate")


def _wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended early"
        assert time.monotonic() < end, "the run is too slow"
        time.sleep(0.02)
