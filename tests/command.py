"""The command line as tests call it."""

import io
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from zsd import main


def zsd(*arguments: object) -> subprocess.CompletedProcess[str]:
    """`zsd ARGUMENTS` in this process, which spares the seconds that a new one takes to import everything."""
    out, err = io.StringIO(), io.StringIO()
    before, status = signal.getsignal(signal.SIGTERM), 0
    try:
        with patch("sys.argv", ["zsd", *map(str, arguments)]), redirect_stdout(out), redirect_stderr(err):
            main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        signal.signal(signal.SIGTERM, before)
    return subprocess.CompletedProcess(sys.argv, status, out.getvalue(), err.getvalue())
