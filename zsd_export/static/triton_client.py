"""Send an image to a Triton server, and write its results as TIFF. Needs NumPy and tifffile.

    python client.py image.tif --url http://localhost:8000 --out restored

The protocol is KServe v2 over HTTP with Triton's binary extension, so any server of that protocol works.
"""

import argparse
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

MODEL = "model"
TYPES = {"FP32": np.float32, "UINT16": np.uint16}


def ask(url: str, data: bytes | None = None, headers: dict[str, str] | None = None) -> tuple[bytes, Any]:
    """The body of an answer, and its headers."""
    request = urllib.request.Request(url, data, headers or {})
    try:
        with urllib.request.urlopen(request, timeout=600) as answer:
            return answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        raise SystemExit(f"error: {url} answers {error.code}: {error.read().decode(errors='replace')}") from None
    except OSError as error:
        raise SystemExit(f"error: {url} does not answer ({error})") from None


def restore(image: Any, url: str = "http://localhost:8000", model: str = MODEL) -> dict[str, Any]:
    """The outputs of a model by name, for an image (N, C, [Z,] Y, X) of camera counts."""
    address = f"{url.rstrip('/')}/v2/models/{model}"
    (source,) = json.loads(ask(address)[0])["inputs"]
    if source["datatype"] == "UINT16":  # a cast would wrap what does not fit round
        image = np.clip(np.rint(image), 0, 65535)
    image = np.ascontiguousarray(image, TYPES[source["datatype"]])
    described = {
        "name": source["name"],
        "shape": list(image.shape),
        "datatype": source["datatype"],
        "parameters": {"binary_data_size": image.nbytes},
    }
    head = json.dumps({"inputs": [described], "parameters": {"binary_data_output": True}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    body, answered = ask(f"{address}/infer", head + image.tobytes(), headers)
    length = int(answered["Inference-Header-Content-Length"] or 0)
    if not length:
        raise SystemExit(f"error: {address} answers without values: {body[:300].decode(errors='replace')}")
    outputs, start = {}, length
    for output in json.loads(body[:length])["outputs"]:
        size = output["parameters"]["binary_data_size"]
        values = np.frombuffer(body[start : start + size], TYPES[output["datatype"]])
        outputs[output["name"]] = values.reshape(output["shape"])
        start += size
    return outputs


def main() -> None:
    """Restore the planes or the volume of a TIFF."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--url", default="http://localhost:8000")
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--out", type=Path, default=Path())
    options = parser.parse_args()
    image = tifffile.imread(options.image)
    described = json.loads(ask(f"{options.url.rstrip('/')}/v2/models/{options.model}")[0])
    axes = len(described["inputs"][0]["shape"]) - 2  # 2: planes, 3: volumes
    images = image.reshape(-1, 1, 1, *image.shape[-axes:])  # one channel each
    results = [restore(one, options.url, options.model) for one in images]
    options.out.mkdir(parents=True, exist_ok=True)
    for name in results[0]:
        values = np.stack([result[name][0, 0] for result in results])
        leading = image.shape[: image.ndim - axes]
        tifffile.imwrite(
            options.out / f"{options.image.stem}_{name}.tif",
            values.reshape(*leading, *values.shape[1:]),
            photometric="minisblack",
        )
        print(f"OK {options.out / f'{options.image.stem}_{name}.tif'}")


if __name__ == "__main__":
    main()
