"""Python programs as forks of a process that has already loaded their modules, for tests that start a program hundreds of times.

A program gets what it gets from a new interpreter: its command line, environment, folder and files 0 to 2, and it ends as usual. What
modules read as they are loaded, they read in the environment of the process that loads them. A module's function begin, where it has
one, is called in each program's process.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

LARGEST_REQUEST = 1 << 17


class Loaded:
    """A process that has loaded modules. May be used by several threads."""

    def __init__(
        self, modules: Sequence[str], *, python: str = sys.executable, env: Mapping[str, str] | None = None
    ) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [python, __file__, str(theirs.fileno()), *modules],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=env,
            )

    def run(
        self, command: Sequence[str], *, cwd: Path | str, env: Mapping[str, str], stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a Python script, or a module as -m NAME, as subprocess.run does."""
        request = json.dumps({"command": [str(part) for part in command], "cwd": str(cwd), "env": dict(env)}).encode()
        ours, theirs = socket.socketpair()
        with (
            ours,
            tempfile.TemporaryFile() as given,
            tempfile.TemporaryFile() as output,
            tempfile.TemporaryFile() as errors,
        ):
            given.write(stdin.encode())
            given.seek(0)
            with theirs:
                files = [given.fileno(), output.fileno(), errors.fileno(), theirs.fileno()]
                socket.send_fds(self._socket, [request], files)
            status = ours.recv(16)
            if not status:
                raise RuntimeError(f"{' '.join(command)}: the process that was to run it has ended")
            output.seek(0)
            errors.seek(0)
            return subprocess.CompletedProcess(
                command, int(status), output.read().decode(errors="replace"), errors.read().decode(errors="replace")
            )

    def close(self) -> None:
        self._socket.close()
        self._process.wait()

    def __enter__(self) -> Loaded:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()


def _serve(requests: socket.socket) -> list[str]:
    """Return in a process that is to run a program, with that program's command; exit when no more requests can come."""
    while True:
        request, files, _flags, _address = socket.recv_fds(requests, LARGEST_REQUEST, 4)
        if request and os.fork() == 0:
            break
        for file in files:
            os.close(file)
        _reap(block=not request)
        if not request:
            sys.exit()

    # One process waits for the other, so that programs may run beside each other.
    requests.close()
    program = os.fork()
    if program != 0:
        _pid, status = os.waitpid(program, 0)
        os.write(files[3], str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.close(files.pop())
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    wanted = json.loads(request)
    os.chdir(wanted["cwd"])
    os.environ.clear()
    os.environ.update(wanted["env"])
    command: list[str] = wanted["command"]
    return command


def _reap(block: bool) -> None:
    try:
        while os.waitpid(-1, 0 if block else os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    beginnings = []
    for name in sys.argv[2:]:
        module = importlib.import_module(name)
        if hasattr(module, "begin"):
            beginnings.append(module.begin)
    gc.collect()
    gc.freeze()
    sys.argv = _serve(socket.socket(fileno=int(sys.argv[1])))
    for begin in beginnings:
        begin()
    if sys.argv[0] == "-m":
        sys.path[0] = os.getcwd()
        sys.argv = sys.argv[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.path[0] = str(Path(sys.argv[0]).parent)
        runpy.run_path(sys.argv[0], run_name="__main__")
