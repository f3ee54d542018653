"""Pages of the site that are made when it is built, so that no text stands twice."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

from mkdocs.structure.files import File, Files
from pydantic import BaseModel

from zsd_train import TrainConfig

ROOT = Path(__file__).parent.parent
PAGES = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
FOR_DOWNLOAD = ("CITATION.cff",)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that stand in the root of the repository, and the reference of the command line."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=_as_page((ROOT / source).read_text("utf-8"))))
    for card in sorted((ROOT / "model_zoo").glob("*/card.md")):  # the cards of the model zoo
        text = card.read_text("utf-8").replace("](../../docs/", "](../")
        files.append(File.generated(config, f"zoo/{card.parent.name}.md", content=text))
    for name in FOR_DOWNLOAD:
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "reference/command-line.md", content=command_line()))
    files.append(File.generated(config, "reference/settings.md", content=settings()))
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
    for verb in _listed(_help()):
        text = _help(verb)
        parts += [f"## zsd {verb}", _block(text)]
        for command in _listed(text.partition("\nCommands:\n")[2]):
            parts += [f"### zsd {verb} {command}", _block(_help(verb, command))]
    return "\n\n".join(parts) + "\n"


def settings() -> str:
    """Every field that a person may set in a configuration file, with its default."""
    parts = [
        "# Settings of a training",
        "The fields of `TrainConfig` in Python, and the keys of the TOML file for `zsd train --config`. Defaults "
        "are those of the preset `compact` for planes; other presets and volumes change some of them. `network` and "
        "`scheme` are tables of their own; their `kind` decides which of the keys below they take.",
    ]
    for model in _models(TrainConfig):
        parts += [f"## {_heading(model)}", (model.__doc__ or "").partition("\n")[0]]
        rows = ["| key | default | what it is |", "| --- | --- | --- |"]
        for name, field in model.model_fields.items():
            default = field.get_default(call_default_factory=True)
            # Of a value that is a table of its own, its kind; what must be given has no default.
            default = getattr(default, "kind", default)
            shown = "" if field.is_required() or default is None else f"`{default}`"
            rows.append(f"| `{name}` | {shown} | {(field.description or '').replace('|', '&#124;')} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _heading(model: type[BaseModel]) -> str:
    """What a person writes to choose it: its kind, which is a default or the only value."""
    if "kind" not in model.model_fields:
        return model.__name__
    kind = model.model_fields["kind"]
    return f'kind = "{get_args(kind.annotation)[0] if kind.is_required() else kind.default}"'


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The configurations within an annotation, each before those that its fields hold."""
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return [model for part in get_args(annotation) for model in _models(part)]
    within = [model for field in annotation.model_fields.values() for model in _models(field.annotation)]
    kinds = [model for child in annotation.__subclasses__() for model in _models(child)]
    base = bool(kinds) and annotation.model_fields["kind"].is_required()  # what all schemes share is no choice
    return list(dict.fromkeys([*([] if base else [annotation]), *within, *kinds]))


def _listed(text: str) -> list[str]:
    """The verbs that a help text lists, one a line."""
    return re.findall(r"^  ([a-z-]+) ", text, re.MULTILINE)


def _help(*verbs: str) -> str:
    environment = {**os.environ, "COLUMNS": "88", "TERM": "dumb", "NO_COLOR": "1"}
    command = [sys.executable, "-c", "import zsd; zsd.main()", *verbs, "--help"]
    return subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True, text=True).stdout.strip()


def _block(text: str) -> str:
    return f"```text\n{text}\n```"
