"""How long *Plugins > zsd > Restore…* takes with a running `zsd serve`, against the network alone.

    python benchmarks/fiji_serve.py [--model NAME] [--size 512]

A real ImageJ under Xvfb restores the same plane again and again, and opens both results; the server has the model open
and as many threads as this process. Between two rounds in ImageJ, the prediction alone is timed: from the plane in
memory to both outputs in memory, as `zsd bench` does it. Results: benchmarks/results/fiji_serve.json.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from zsd_runtime import Model, load_model
from zsd_runtime.fiji.install import install

MODELS = Path(__file__).parents[1] / "model_zoo"
RESULTS = Path(__file__).parent / "results" / "fiji_serve.json"
IJ_JAR = os.environ.get("IJ_JAR", "/usr/share/java/ij.jar")
MACRO = """
open("{image}");
for (i = 0; i <= {repeats}; i++) {{
    selectImage(1);
    begun = getTime();
    run("Restore...", "model=[{model}] zsd=/bin/false");
    print(getTime() - begun);
    close("*_d*");
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="microtubules-2d", help="a model of the zoo")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        row = measure(Path(name), arguments)
    print(json.dumps(row, indent=1))
    known = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(known | {f"{arguments.model} {arguments.size}": row}, indent=1) + "\n")


def measure(folder: Path, arguments: argparse.Namespace) -> dict[str, object]:
    """Seconds, and the median over rounds of their ratio: in a round, the load of the machine is the same for both."""
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    image = np.random.default_rng(0).poisson(30, (arguments.size, arguments.size)).astype(np.uint16) + 100
    tifffile.imwrite(folder / "cell.tif", image, imagej=True, resolution=(10, 10), metadata={"unit": "um"})
    home = folder / "imagej"
    (home / "plugins").mkdir(parents=True)
    (home / "macros").mkdir()
    install(home)
    package = shutil.copy(MODELS / arguments.model / "model.zip", folder)
    with load_model(package) as model:
        macro = folder / "macro.ijm"
        macro.write_text(MACRO.format(image=folder / "cell.tif", model=package, repeats=arguments.repeats))
        command = [sys.executable, "-c", "import zsd; zsd.main()", "serve", str(package), "--quiet"]
        server = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert server.stdout is not None
        server.stdout.readline()
        try:
            rounds = [(restored(home, macro), timed(model, image, arguments.repeats)) for _ in range(arguments.rounds)]
        finally:
            server.terminate()
            server.wait()
        engine = type(model.engine).__name__
    medians = [(statistics.median(plugin), statistics.median(network)) for plugin, network in rounds]
    best = min(medians)
    return {
        "ratio": round(statistics.median(plugin / network for plugin, network in medians), 2),
        "plugin_s": [plugin for plugin, _ in medians], "network_s": [network for _, network in medians],
        "quietest": {"plugin_s": best[0], "network_s": best[1]}, "engine": engine,
        "cores": len(os.sched_getaffinity(0)),
    }  # fmt: skip


def timed(model: Model, image: NDArray[np.uint16], repeats: int) -> list[float]:
    """Seconds of the network alone."""
    model.predict(image)
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        model.predict(image)
        seconds.append(round(time.perf_counter() - begun, 4))
    return seconds


def restored(home: Path, macro: Path) -> list[float]:
    """Seconds of the command in ImageJ, without the first time."""
    java = ["xvfb-run", "-a", "java", f"-Duser.home={home}", "-cp", IJ_JAR, "ij.ImageJ", "-ijpath", str(home)]
    said = subprocess.run([*java, "-batch", str(macro)], check=True, capture_output=True, text=True).stdout
    return [int(line) / 1000 for line in said.split()][1:]


if __name__ == "__main__":
    main()
