"""The `zsd` command: each verb and the module that serves it, which is imported only when it is called."""

import signal
import sys
from importlib import import_module

GROUPS = {
    "from image to result": {
        "info": ("zsd_runtime.info", "what zsd sees in an image file: axes, sizes, channels, bad pixels"),
        "restore": ("zsd_export.restore", "train, export and predict in one: noisy images and a PSF to results"),
        "predict": ("zsd_runtime.cli", "denoise and deconvolve images with a package"),
        "watch": ("zsd_runtime.watch.cli", "restore what a microscope writes to a folder, as it comes"),
        "live": ("zsd_runtime.live.cli", "restore images while a microscope makes them"),
    },
    "training": {
        "train": ("zsd_train.cli", "learn to restore from noisy images alone"),
    },
    "models": {
        "export": ("zsd_export.cli", "from a training run to a model package"),
        "compress": ("zsd_export.cli", "a smaller, faster network that does what a trained one does"),
        "import-keras": ("zsd_export.keras", "from published weights (.h5) to a model package"),
        "import-torch": (
            "zsd_export.pytorch",
            "from DecoNoising's and Noise2Void's PyTorch weights to a model package",
        ),
        "inspect": ("zsd_runtime.inspection", "what a package is, and what runs it here"),
        "zoo": ("zsd_runtime.zoo_cli", "models that come with zsd: list, cards, copies, and how they are made"),
    },
    "optics and filters": {
        "simulate": ("zsd_optics.cli", "a noisy image with its truth, to try everything on"),
        "noise": ("zsd_optics.cli", "estimate camera offset, gain and read noise from images"),
        "psf": ("zsd_optics.psf_cli", "point spread functions from theory, transfer functions or beads"),
        "sim": ("zsd_optics.sim.cli", "structured illumination: raw frames to a super-resolved image"),
        "filter": (
            "zsd_optics.filter_cli",
            "classical filters: Gaussian, median, non-local means, Richardson-Lucy and others",
        ),
        "damp": ("zsd_optics.filter_cli", "remove light-sheet stripes from a result"),
        "compare": (
            "zsd_export.compare_cli",
            "what filters, trainings and packages make of one image, side by side",
        ),
        "evaluate": ("zsd_optics.cli", "PSNR, SSIM and NRMSE against a truth"),
        "report": ("zsd_export.report.cli", "whether to trust a result, with or without a truth: one page"),
        "resolution": (
            "zsd_optics.resolution_cli",
            "how fine a detail an image shows, by Fourier ring correlation and decorrelation",
        ),
    },
    "machines": {
        "fiji": ("zsd_runtime.fiji.cli", "put the plugin into Fiji or ImageJ"),
        "serve": ("zsd_runtime.restore_server.cli", "restore images that other programs send, and show them in a page"),
        "plan": ("zsd_runtime.parts.outlook", "what restoring a large image on a cluster takes: memory, hours"),
        "bench": ("zsd_runtime.cli", "how fast a package runs here, engine by engine"),
        "build-engine": ("zsd_runtime.build_engine", "a package's TensorRT engine, built ahead of time"),
    },
}
MODULES = {verb: module for verbs in GROUPS.values() for verb, (module, _) in verbs.items()}
# What a verb needs more for an option, or a verb of its own: with it, another module serves the verb.
WITH_OPTIONS = {("watch", "--train-first"): "zsd_export.watch", ("zoo", "make"): "zsd_export.zoo.cli"}
# The extra to install when an import fails.
EXTRAS = {"zsd_optics": "optics", "zsd_train": "train", "zsd_export": "export", "zsd_runtime": "cpu"}


def main() -> None:
    """Entry point of the command line; exit status 0, 2 (the input is at fault) or 1 (anything else)."""
    # SIGTERM, from Fiji or a job scheduler, is handled like Ctrl-C: nothing is left half-written.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = sys.argv[1:]
    if arguments and arguments[0] == "--version":
        from importlib.metadata import version

        print(version("zsd"))
        return
    verb = arguments[0] if arguments else ""
    if verb not in MODULES:
        _help(verb)
    modules = (module for (of, option), module in WITH_OPTIONS.items() if of == verb and option in arguments)
    module = next(modules, MODULES[verb])
    try:
        import_module(module).app(arguments, prog_name="zsd")
    except ModuleNotFoundError as error:
        extra = EXTRAS[module.split(".")[0]]
        print(f"error: zsd {verb} needs {error.name}: pip install 'zsd[{extra}]'", file=sys.stderr)
        sys.exit(2)


def _help(verb: str) -> None:
    print("zsd: zero-shot denoising and deconvolution of fluorescence images\n")
    print("usage: zsd VERB [OPTIONS]; zsd VERB --help")
    for group, verbs in GROUPS.items():
        print(f"\n{group}:")
        print("\n".join(f"  {name:<12} {text}" for name, (_, text) in verbs.items()))
    if verb in ("", "--help", "-h"):
        sys.exit(0)
    print(f"error: there is no verb {verb!r}", file=sys.stderr)
    sys.exit(2)
