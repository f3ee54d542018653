"""Pages of the site that are made when it is built, so that no text stands twice."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import zsd

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
FOR_DOWNLOAD = ("CITATION.cff",)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand in the root of the repository, and the reference of the command line."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=_as_page((ROOT / source).read_text("utf-8"))))
    for name in FOR_DOWNLOAD:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "reference/command-line.md", content=command_line()))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Mark code that is short enough to stand on one line."""
    return re.sub(r"<code>([^<]{1,30})</code>", r'<code class="short">\1</code>', html)


def _as_page(text: str) -> str:
    """The same text with its links as seen from docs/."""
    text = text.replace("](docs/", "](")
    for source, page in PAGES.items():
        text = text.replace(f"]({source}", f"]({page}")
    return text


def command_line() -> str:
    """What every verb says with --help."""
    parts = [
        "# Command line",
        "`zsd VERB --help` prints the same text. The exit status is 0 when everything worked, 2 when the input is at "
        "fault (the last line names the value, what was expected and the remedy), and 1 for anything else.",
        _block(_help()),
    ]
    for verb in zsd.VERBS:
        text = _help(verb)
        parts += [f"## zsd {verb}", _block(text)]
        # A verb with verbs of its own lists them under "Commands".
        for command in re.findall(r"^  (\S+)", text.partition("\nCommands:\n")[2], re.MULTILINE):
            parts += [f"### zsd {verb} {command}", _block(_help(verb, command))]
    return "\n\n".join(parts) + "\n"


def _help(*verbs: str) -> str:
    environment = {**os.environ, "COLUMNS": "88", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-c", "import zsd; zsd.main()", *verbs, "--help"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def _block(text: str) -> str:
    return f"```text\n{text}\n```"
