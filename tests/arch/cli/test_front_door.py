"""Signals and standard streams of the command. A small module stands in for the commands: no torch is loaded."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import lightbsr

from infer_helpers import files, save

AT_ONCE = "import os, signal, sys\nfrom pathlib import Path\n"
WAIT = "import time\ntime.sleep(20)\n"
KILL = "os.kill(os.getpid(), signal.{})\n"
RUN = "def run(command, arguments):\n"


@pytest.fixture
def start(tmp_path):
    """Starts ``lightbsr COMMAND`` with a module of the given code for the command."""

    def begin(code, command="info", shell="", arguments=None, **options):
        (tmp_path / "stand_in.py").write_text(AT_ONCE + code)
        program = (
            f"import lightbsr, sys; sys.path.insert(0, {str(tmp_path)!r})\n"
            f"lightbsr._COMMANDS[{command!r}] = ('stand_in', 'x')\n"
            f"sys.exit(lightbsr.main({arguments or [command]!r}))"
        )
        # The shell closes streams, which subprocess cannot.
        line = ["/bin/sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-c", program]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        return subprocess.Popen(line, text=True, cwd=tmp_path, env=environment, **{**streams, **options})

    return begin


@pytest.fixture
def end(start):
    """As ``start``; the exit status, standard output and standard error."""

    def ended(*arguments, **options):
        with start(*arguments, **options) as process:
            out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    return ended


@pytest.mark.parametrize(
    "code",
    [
        KILL.format("SIGINT") + WAIT,
        # What libraries' C code makes of it.
        f"try:\n  {KILL.format('SIGINT')}  {WAIT.splitlines()[0]}\n  time.sleep(20)\n"
        "except KeyboardInterrupt:\n  raise ImportError('multiarray failed to import')\n",
        # Callbacks, too, lose it: an exception in a destructor is printed at most.
        f"import contextlib\nwith contextlib.suppress(KeyboardInterrupt):\n  {KILL.format('SIGINT')}{RUN}    print('ran')\n",
        RUN + "    " + KILL.format("SIGINT") + "    import time; time.sleep(20)\n",
    ],
    ids=["import", "import-error", "swallowed", "run"],
)
def test_ctrl_c_ends_with_one_line(end, code):
    assert end(code) == (130, "", "lightbsr info: stopped by Ctrl-C.\n")


def test_memory_that_does_not_suffice_to_start_is_one_line(end):
    code = "import resource\nresource.setrlimit(resource.RLIMIT_AS, (1 << 28, 1 << 28))\nbytearray(1 << 30)\n"
    assert end(code) == (1, "", "lightbsr info: out of memory.\n")


def test_sigterm_leaves_no_temporary_file(end, tmp_path):
    code = RUN + (
        "    from lightbsr_arch.saving import new_file\n"
        "    with new_file(Path('out/result.bin')) as file:\n"
        "        file.write(b'half'); file.flush()\n"
        "        assert os.listdir('out')\n"
        "        try:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "        finally:\n"
        "            os.kill(os.getpid(), signal.SIGTERM)  # it must not break off the cleaning up\n"
    )
    assert end(code) == (143, "", "lightbsr info: stopped by SIGTERM.\n")
    assert files(tmp_path / "out") == []
    assert end(code.replace("SIGTERM", "SIGHUP")) == (129, "", "lightbsr info: stopped by SIGHUP.\n")
    assert files(tmp_path / "out") == []


def test_handlers_of_others_stay(end):
    told = RUN + "    print(*(signal.getsignal(getattr(signal, name)).__repr__() for name in ('SIGTERM', 'SIGHUP')))\n"
    status, out, _ = end(told, command="train")
    assert (status, out) == (0, "<Handlers.SIG_DFL: 0> <Handlers.SIG_DFL: 0>\n")
    status, out, _ = end(told, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))  # as nohup does
    assert "_handle" in out.split("> ")[0]
    assert out.endswith("<Handlers.SIG_IGN: 1>\n")


def test_handlers_are_given_back(capsys):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(SystemExit):
        lightbsr.main(["--help"])
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_forked_worker_dies_of_sigterm_silently(end):
    code = RUN + (
        "    import multiprocessing, time\n"
        "    ready = multiprocessing.get_context('fork').Event()\n"
        "    def wait(): ready.set(); time.sleep(20)\n"
        "    worker = multiprocessing.get_context('fork').Process(target=wait)\n"
        "    worker.start(); ready.wait(20); worker.terminate(); worker.join()\n"
        "    print(worker.exitcode)\n"
    )
    assert end(code) == (0, "-15\n", "")


PRINT = RUN + "    print('one')\n    Path('went_on').touch()\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_full_standard_output_is_one_line(end, tmp_path):
    message = "standard output cannot be written: No space left on device.\n"
    assert end(PRINT, shell="> /dev/full") == (1, "", f"lightbsr info: {message}")
    assert not (tmp_path / "went_on").exists()
    assert end(PRINT, arguments=["--help"], shell="> /dev/full") == (1, "", f"lightbsr: {message}")
    # The message is lost, the status is not.
    refused = RUN + "    from lightbsr_arch.errors import OptionError\n    raise OptionError('no')\n"
    assert end(refused, shell="2> /dev/full") == (2, "", "")


def test_other_errors_of_the_system_are_not_taken_for_the_output(end):
    status, _, err = end(RUN + "    open('nowhere/at/all')\n")
    assert status == 1
    assert "No such file or directory: 'nowhere/at/all'" in err


def test_closed_standard_output_is_refused_before_the_work(end, tmp_path):
    status, _, err = end(PRINT, shell=">&-")
    assert (status, err) == (1, "lightbsr info: standard output is closed: redirect it to a file, or to /dev/null.\n")
    assert not (tmp_path / "went_on").exists()
    # A training has its log.
    assert end(PRINT, command="train", shell=">&-") == (0, "", "")
    assert (tmp_path / "went_on").exists()


def test_closed_standard_error_neither_mixes_with_the_output_nor_with_files(end, tmp_path):
    code = RUN + (
        "    print('a note', file=sys.stderr)\n"
        "    file = os.open('result', os.O_WRONLY | os.O_CREAT)\n"
        "    os.write(2, b'a warning of a library')\n"
        "    print('result')\n"
    )
    assert end(code, shell="2>&-") == (0, "result\n", "")
    assert (tmp_path / "result").read_bytes() == b""


def test_lines_arrive_in_a_pipe_when_they_are_printed(start):
    code = RUN + "    print('one')\n    import select; select.select([sys.stdin], [], [], 20)\n"
    with start(code, stdin=subprocess.PIPE) as process:
        arrived = select.select([process.stdout], [], [], 10)[0]
        process.stdin.close()
        assert process.stdout.readline() == "one\n"
        assert arrived


def test_a_name_that_the_locale_lacks_is_escaped(model, tmp_path):
    save(tmp_path / "in" / "cat 🐈.png")
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment.pop("PYTHONIOENCODING", None)
    done = subprocess.run(
        [sys.executable, "-m", "lightbsr", "infer", "in", "-o", "out", "-m", str(model), "--device", "cpu"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert b"in/cat \\udcf0" in done.stdout
    assert files(tmp_path / "out") == ["cat 🐈_x4.png"]
