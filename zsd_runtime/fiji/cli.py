"""`zsd fiji install`."""

from pathlib import Path
from typing import Annotated

import typer

from zsd_runtime.terminal import Quiet, command_line, reporting

app = command_line()
verbs = typer.Typer(no_args_is_help=True, help="The plugin for Fiji and ImageJ.")
app.add_typer(verbs, name="fiji")
verbs.callback()(lambda: None)  # without it typer makes a single verb the whole command


@verbs.command("install")
def install_plugin(
    folder: Annotated[Path, typer.Argument(help="The folder of Fiji or ImageJ, such as Fiji.app.")],
    quiet: Quiet = False,
) -> None:
    """Put the plugin into Fiji or ImageJ: Plugins > zsd > Restore…

    An earlier plugin is replaced. The plugin then calls this zsd; its dialog and its macros can name another one.
    No JDK is needed. Restart ImageJ afterwards.
    """
    with reporting(quiet):
        from zsd_runtime.fiji.install import install

        installed = install(folder)
        if not quiet:
            print(f"The plugin calls {installed.command or 'the zsd that is on the PATH'}. Restart ImageJ.")
        print(f"OK {'replaced' if installed.replaced else 'installed'} {installed.jar}")
