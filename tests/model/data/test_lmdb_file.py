"""An LMDB whose file is cut short is found before it is mapped into memory."""

from __future__ import annotations

import faulthandler
import os
import re
from random import Random

import lmdb
import pytest
import yaml

from lightbsr_arch.errors import OptionError
from lightbsr_model.data.image_sources import open_images
from lightbsr_model.data.lmdb_environments import shared_environment
from lightbsr_model.data.lmdb_file import check_whole

from support.lmdb_files import encoded_images, lmdb_of, write_lmdb
from support.method_cases import CASES
from support.option_problems import check_of
from support.training_files import training_options


def _cut(root, size):
    os.truncate(root / "data.mdb", size)


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_cut_short(tmp_path, image_folder, commits):
    root = tmp_path / "gt.lmdb"
    settings = write_lmdb(root, encoded_images(image_folder), commits)
    whole = (root / "data.mdb").stat().st_size
    check_whole(root)
    # What is written last of several transactions is of LMDB's list of free pages, which no reader needs.
    for size in (*([whole - 1] if commits == 1 else []), whole // 2, 3 * os.sysconf("SC_PAGE_SIZE"), 5000):
        _cut(root, size)
        message = rf"gt.lmdb/data.mdb is cut short: it has {size} of \d+ bytes. Copy it again."
        for use in (check_whole, shared_environment):
            with pytest.raises(OptionError, match=message):
                use(root)
        with pytest.raises(OptionError, match=f"^dataroot_gt: .*{message}"):
            open_images(settings)


def test_every_truncation_that_kills_a_reader_is_found(tmp_path, image_folder):
    """Truncated at every page: a process that reads all records is killed by SIGBUS, or the file is whole for it."""
    root = tmp_path / "gt.lmdb"
    write_lmdb(root, encoded_images(image_folder), commits=2)
    content, page = (root / "data.mdb").read_bytes(), os.sysconf("SC_PAGE_SIZE")
    killed = 0
    for size in range(2 * page, len(content), 5 * page):
        (root / "data.mdb").write_bytes(content[:size])
        child = os.fork()
        if child == 0:
            try:
                faulthandler.disable()
                with lmdb.open(str(root), readonly=True, lock=False) as environment, environment.begin() as transaction:
                    sum(value.count(b"\0") for _, value in transaction.cursor())
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
        if os.WIFSIGNALED(status):
            with pytest.raises(OptionError, match="cut short"):
                check_whole(root)
    assert killed > 5


def test_pages_freed_in_their_own_transaction_are_no_loss(tmp_path):
    """LMDB leaves out the last pages of a file where they are free; that file is whole."""
    random, live = Random(163), {}
    with lmdb.open(str(tmp_path), map_size=2**24, sync=False) as environment:
        for _ in range(random.randint(1, 4)):
            with environment.begin(write=True) as transaction:
                for _ in range(random.randint(1, 400)):
                    key = b"%05d" % random.randint(0, 300)
                    if random.random() < random.choice((0.1, 0.5, 0.9)):
                        live[key] = b"x" * random.choice((10, 500, 3000, 9000))
                        transaction.put(key, live[key])
                    else:
                        live.pop(key, None)
                        transaction.delete(key)
    with lmdb.open(str(tmp_path), readonly=True, lock=False) as environment:
        last_page = environment.info()["last_pgno"]
    assert (tmp_path / "data.mdb").stat().st_size < (last_page + 1) * os.sysconf("SC_PAGE_SIZE"), (
        "no such file was made"
    )
    check_whole(tmp_path)
    with shared_environment(tmp_path).begin() as transaction:
        assert dict(transaction.cursor()) == live


def test_what_is_no_lmdb(tmp_path):
    for number, content in enumerate((b"", b"text", b"\xff" * 20000)):
        root = tmp_path / f"{number}.lmdb"
        root.mkdir()
        (root / "data.mdb").write_bytes(content)
        check_whole(root)
        with pytest.raises(OptionError, match=f"{number}.lmdb cannot be opened as an LMDB"):
            shared_environment(root)


@pytest.mark.parametrize("key", ["dataroot_gt", "dataroot_lq"])
def test_check_names_key_and_line(tmp_path, image_folder, key):
    gt, lq = (tmp_path / f"{name}.lmdb" for name in ("gt", "lq"))
    for root in (gt, lq):
        lmdb_of(image_folder, root)
    _cut(gt if key == "dataroot_gt" else lq, 40000)
    opt = training_options(image_folder)
    opt["datasets"]["train"].update(
        dataroot_gt=str(gt), dataroot_lq=str(lq), type="PairedImageDataset", io_backend={"type": "lmdb"}
    )
    problems = [problem for problem in check_of(opt).problems if "cut short" in problem.message]
    assert [problem.key for problem in problems] == [("datasets", "train", key)]
    assert re.search(r"lmdb/data.mdb is cut short: it has 40000 of \d+ bytes. Copy it again", problems[0].message)
    assert key in yaml.safe_dump(opt, sort_keys=False).splitlines()[problems[0].line - 1]


def _no_permission(path):
    path.write_bytes(b"x")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("nothing is unreadable here")


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.mkdir(),
        _no_permission,
        lambda path: path.write_text("not weights\n" * 50),
        lambda path: path.write_bytes(b"\x80\x02}q\x00X\x06\x00"),
        lambda path: path.write_bytes(b""),
        os.mkfifo,
    ],
    ids=["folder", "permission", "text", "truncated", "empty", "fifo"],
)
def test_unreadable_teacher(tmp_path, image_folder, make):
    path = tmp_path / "teacher.pth"
    make(path)
    (problem,) = check_of(CASES["LightBSR"].apply(training_options(image_folder), path)).problems
    assert problem.key[0] == "teacher"
    assert "teacher.pth" in problem.message
    assert problem.line
