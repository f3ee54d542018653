"""OME-Zarr files as other programs write them."""

import zarr


def axes(names, unit="micrometer", time_unit="second"):
    """As 0.4 describes them; without units where they are None."""
    units = dict.fromkeys("zyx", unit) | {"t": time_unit}
    kinds = {"t": "time", "c": "channel"}
    return [{"name": n, "type": kinds.get(n, "space")} | ({"unit": units[n]} if units.get(n) else {}) for n in names]


def dataset(scale=None, translation=None, path="0"):
    steps = [{"type": "scale", "scale": scale}] if scale else []
    steps += [{"type": "translation", "translation": translation}] if translation else []
    return {"path": path} | ({"coordinateTransformations": steps} if steps else {})


def multiscale(names="yx", scale=(0.1, 0.1), translation=None, **more):
    described = {"version": "0.4", "axes": axes(names), "datasets": [dataset(list(scale), translation)]}
    return {k: v for k, v in (described | more).items() if v is not None}


def write(group, data, *multiscales, zarr_format=2, name="0", **options):
    """An image in a group, or in a new file; further keywords are attributes or those of `create_array`."""
    if not isinstance(group, zarr.Group):
        group = zarr.open_group(group, mode="w", zarr_format=zarr_format)
    array = {k: options.pop(k) for k in ("chunks", "shards", "order", "chunk_key_encoding") if k in options}
    attributes = {"multiscales": list(multiscales)} if multiscales else {}
    attributes |= options
    group.attrs.update({"ome": {"version": "0.5"} | attributes} if zarr_format == 3 else attributes)
    chunks = array.pop("chunks", tuple(min(16, n) for n in data.shape))
    group.create_array(name, data=data, chunks=chunks, **array)
    return group
