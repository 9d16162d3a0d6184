"""Show a Rerun recording: in Rerun's own window, or served to a browser on this machine."""

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import rerun_cli  # type: ignore[import-untyped]

from src.conventions import UserError

HOST = "127.0.0.1"  # recordings show people's homes: only this machine is served


def open_window(path: Path) -> None:
    """Show a recording in Rerun's window until it is closed; UserError when no window can be opened."""
    with run_viewer("--bind", HOST, path) as process:
        _, log = process.communicate()
    if process.returncode:
        raise UserError(f"Rerun's window did not open ({last_message(log)}). Use --web, or --save a recording.")


def serve(path: Path, port: int) -> None:
    """Serve a recording to local browsers until Ctrl-C, its data on the port after `port`; UserError if it ends."""
    ports = "--web-viewer-port", str(port), "--port", str(port + 1)
    with run_viewer("--serve-web", "--bind", HOST, *ports, "--server-memory-limit", "75%", path) as process:
        while process.poll() is None and not is_listening(port):
            time.sleep(0.1)
        data = quote(f"rerun+http://{HOST}:{port + 1}/proxy", safe="")
        if process.poll() is None:
            print(f"serving http://{HOST}:{port}/?url={data} until Ctrl-C", flush=True)
        _, log = process.communicate()
    raise UserError(f"the web viewer ended ({last_message(log)}).")


@contextlib.contextmanager
def run_viewer(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """Run Rerun's program, and terminate it when the block ends."""
    # Not the wrapper `rerun` on the PATH: terminating it would leave the program behind it running.
    names = ("rerun", "rerun.exe", "Rerun.app/Contents/MacOS/Rerun")
    paths = [Path(rerun_cli.__file__).parent / name for name in names]
    program = next((path for path in paths if path.is_file()), None)
    if program is None:
        raise UserError("rerun-sdk has no viewer here. Reinstall it: pip install --force-reinstall rerun-sdk")
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    with subprocess.Popen([program, *arguments], text=True, **streams) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.terminate()


def is_listening(port: int) -> bool:
    """Return whether a server on this machine accepts connections on a port."""
    with socket.socket() as client:
        return client.connect_ex((HOST, port)) == 0


def last_message(log: str) -> str:
    """Return the end of a log's last line, without the source locations before it."""
    return log.strip().rpartition("\n")[2].rpartition(": ")[2].rstrip(".") or "no message"
