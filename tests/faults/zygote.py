"""A process that has imported what the commands need, and forks one child per command.

A command in a child costs a tenth of a second instead of three. The process runs under the file layer
of `shim.c`; each child tells it what shall fail, and then runs the command line as the `maxact` script
does. Requests and answers are lines of JSON on standard input and output.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import threading
import traceback
from typing import Any

HEAVY = frozenset({"pipeline.vision_libraries", "pipeline.__main__", "viz.__main__"})
"""Modules that no command of the harness imports, or that run when they are imported."""

LATER = (
    "PIL.JpegImagePlugin PIL.PdfImagePlugin PIL.PngImagePlugin annotated_types braceexpand "
    "concurrent.futures.thread duckdb numpy.linalg numpy.ma pandas pyarrow.compute pyarrow.parquet pydantic "
    "rich.progress torch torch._dynamo typer._adapters typer.main zipfile"
)
"""What commands import while they run."""


def load() -> None:
    """Import every module of the project and what they import later."""
    for package in ("pipeline", "viz"):
        for module in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            if module.name not in HEAVY and "zoo" not in module.name:
                importlib.import_module(module.name)
    for name in LATER.split():
        importlib.import_module(name)
    from PIL import Image

    from pipeline.data import retry

    Image.init()
    retry.FIRST_PAUSE_S = 0.005  # a storage that fails is given a few milliseconds, not seconds


def start(request: dict[str, Any]) -> int:
    """Fork a child that runs one command; returns its number."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        code = _run(request)
    finally:
        os._exit(code)


def _run(request: dict[str, Any]) -> int:
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        opened = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    sys.argv = ["maxact", *request["words"]]
    layer = ctypes.CDLL(None)
    if limit := request["descriptors"]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    if journal := request["journal"]:
        layer.fault_journal(os.fsencode(journal["file"]), os.fsencode(journal["backups"]))
    layer.fault_arm.argtypes = [
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_long,
        *[ctypes.c_int] * 4,
        ctypes.c_long,
    ]
    layer.fault_arm(os.fsencode(request["root"]), *request["fault"])
    code = _command_line()
    layer.fault_count.restype = ctypes.c_long
    with open(request["stderr"] + ".calls", "w") as file:
        json.dump({number: layer.fault_count(number) for number in request["classes"]}, file)
    return code


def _command_line() -> int:
    from viz.cli import main

    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    else:
        code = 0
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        code = code or 120
    return code


def serve() -> None:
    """Answer requests until standard input ends."""
    load()
    gc.collect()
    gc.freeze()
    waiting: dict[int, int] = {}
    _answer({"ready": os.getpid(), "threads": threading.active_count()})
    inbox = b""
    while True:
        ready, _, _ = select.select([0, *waiting], [], [])
        for descriptor in ready:
            if descriptor == 0:
                received = os.read(0, 1 << 16)
                if not received:
                    return
                *lines, inbox = (inbox + received).split(b"\n")
                for line in lines:
                    child = start(json.loads(line))
                    waiting[os.pidfd_open(child)] = child
                    _answer({"started": child})
            else:
                child = waiting.pop(descriptor)
                os.close(descriptor)
                _, status = os.waitpid(child, 0)
                _answer({"ended": child, "code": os.waitstatus_to_exitcode(status)})


def _answer(message: dict[str, Any]) -> None:
    os.write(1, json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    serve()
