"""The PSF that a person describes in the words of the command line, one for each channel that is restored."""

from collections.abc import Sequence
from pathlib import Path

from zsd_optics.psf_source import PsfFile, PsfGaussian, PsfOptics, PsfSource
from zsd_runtime.channels import Chosen, channels_of, matched, named
from zsd_runtime.errors import InputError, see_info
from zsd_runtime.images import open_image
from zsd_runtime.notices import Notice, no_notice
from zsd_runtime.sizes import lengths

REFRACTIVE_INDEX = 1.515
EMISSION_NM = (200, 2000)  # anything else in a file is no wavelength of light
# What belongs to each way to describe a PSF; beside another way it would have no effect.
BELONGS = {
    "psf": ("psf_pixel_size", "psf_z_step", "centre_psf"),
    "psf_sigma": (),
    "na": ("wavelength", "refractive_index"),
}
WHOLE = (Chosen(0),)  # an image without channels


def psf_sources_of(
    channels: Sequence[Chosen] = WHOLE,
    every: Sequence[Chosen] | None = None,
    *,
    psf: Sequence[str | Path] | None = None,
    psf_pixel_size: float | None = None,
    psf_z_step: float | None = None,
    centre_psf: bool = False,
    psf_sigma: str | None = None,
    na: float | None = None,
    wavelength: str | float | None = None,
    refractive_index: float | None = None,
    otherwise: str = "",
    notice: Notice = no_notice,
) -> list[PsfSource]:
    """The PSF of each channel, from options (`zsd_optics.options`).

    `psf`, `psf_sigma` and `wavelength` hold for all channels, or for each by its name or number: "GFP=520,RFP=610".

    Parameters
    ----------
    channels : sequence of Chosen
        The channels that are restored.
    every : sequence of Chosen
        All channels of the images; `channels` if not given.
    psf, psf_pixel_size, psf_z_step, centre_psf
        Of files. One file with as many channels as the images has the PSF of each.
    psf_sigma
        Of Gaussians, raw pixels.
    na, wavelength, refractive_index
        Of a PSF from theory. Without a wavelength, the emission that the images' file says.
    otherwise : str
        What else one can do who has no PSF, for the error.
    notice : callable
        Gets a sentence for what comes from a file.

    Raises
    ------
    InputError
        Unless exactly one of `psf`, `psf_sigma` and `na` is given, with what it needs and nothing else.
    """
    ways = {"psf": psf, "psf_sigma": psf_sigma, "na": na}
    chosen = [option for option, value in ways.items() if value is not None]
    if len(chosen) != 1:
        by = " and ".join(f"`{option}`" for option in chosen)
        raise InputError(
            f"the PSF is given by {by or 'nothing'}",
            f"give one of `psf` FILE, `psf_sigma` PIXELS, or `na` with `wavelength`{otherwise if not chosen else ''}",
            option=(*ways, "wavelength", "scheme"),
        )  # fmt: skip
    beside = {
        "psf_pixel_size": psf_pixel_size, "psf_z_step": psf_z_step, "centre_psf": centre_psf or None,
        "wavelength": wavelength, "refractive_index": refractive_index,
    }  # fmt: skip
    (way,) = chosen
    for option, value in beside.items():
        if value is not None and option not in BELONGS[way]:
            other = next(name for name, belongs in BELONGS.items() if option in belongs)
            raise InputError(
                f"`{option}` belongs to `{other}`, and the PSF is given by `{way}`", "leave it out",
                option=(option, other, way),
            )  # fmt: skip
    if psf is not None:
        given = PsfFile(Path(), psf_pixel_size, psf_z_step, centre_psf)
        return _from_files([str(path) for path in psf], given, channels, every or channels)
    if psf_sigma is not None:
        sigmas = zip(per_channel([psf_sigma], channels, "psf_sigma"), channels, strict=True)
        return [PsfGaussian(lengths(_there(s, c, "psf_sigma"), "psf_sigma")) for s, c in sigmas]
    assert na is not None
    index = REFRACTIVE_INDEX if refractive_index is None else refractive_index
    texts = per_channel([] if wavelength is None else [str(wavelength)], channels, "wavelength")
    return [PsfOptics(na, _wavelength(t, c, notice), index) for t, c in zip(texts, channels, strict=True)]


def per_channel(texts: Sequence[str], channels: Sequence[Chosen], option: str) -> list[str | None]:
    """What is given for each channel, by "GFP=520,RFP=610", or for all by "520"; None for a channel without.

    Raises
    ------
    InputError
        When a name is none of the channels, or a channel is named twice.
    """
    parts = [part.strip() for text in texts for part in (text.split(",") if option != "psf" else [text])]
    pairs = [part.partition("=") for part in parts]
    if not any(sign for _, sign, _ in pairs) or (option == "psf" and all(Path(part).exists() for part in parts)):
        if len(parts) > 1:
            raise InputError(
                f"`{option}` is given as {', '.join(parts)}",
                f"give one for all channels, or one for each: `{option}` {channels[0].name}={parts[0]}", option=option,
            )  # fmt: skip
        return [parts[0] if parts else None] * len(channels)
    found: dict[int, str] = {}
    for name, sign, value in pairs:
        called = [n for n, c in enumerate(channels) if c.is_called(name.strip())]
        if not sign or len(called) != 1 or called[0] in found:
            raise InputError(
                f"`{option}` {name}{sign}{value} does not name one of the channels {named(channels)}",
                "write each as NAME=VALUE, once", option=option,
            )  # fmt: skip
        found[called[0]] = value.strip()
    return [found.get(n) for n in range(len(channels))]


def _from_files(
    texts: list[str], given: PsfFile, channels: Sequence[Chosen], every: Sequence[Chosen]
) -> list[PsfSource]:
    sources: list[PsfSource] = []
    for text, chosen in zip(per_channel(texts, channels, "psf"), channels, strict=True):
        path = Path(_there(text, chosen, "psf"))
        inside = channels_of(open_image(path))
        channel = _channel_in(path, inside, chosen, every) if len(inside) > 1 else None
        sources.append(PsfFile(path, given.pixel_size_um, given.z_step_um, given.centre, channel))
    return sources


def _channel_in(path: Path, inside: Sequence[Chosen], chosen: Chosen, every: Sequence[Chosen]) -> int:
    """Which channel of a PSF's file is that of an image's: by its name, else by order if there are as many."""
    same = matched([chosen.name], inside)
    if same:
        return same[0].number
    unnamed = not any(c.channel.name for c in inside) or not any(c.channel.name for c in every)
    if len(inside) != len(every) or len(every) == 1 or not unnamed:
        raise InputError(
            f"the PSF {path} has channels {named(inside)}, and none is {chosen.name}",
            f"give a file for each channel: `psf` {chosen.name}=FILE; {see_info(path)}", option="psf",
        )  # fmt: skip
    return chosen.number


def _wavelength(text: str | None, chosen: Chosen, notice: Notice) -> float:
    """The emission wavelength, nm: as typed, else as the file says."""
    if text is not None:
        try:
            return float(text)
        except ValueError:
            expected = "a number (nm), or one for each channel: GFP=520,RFP=610"
            raise InputError(f"`wavelength` {text} must be {expected}", option="wavelength") from None
    emission = chosen.channel.emission_nm
    shortest, longest = EMISSION_NM
    if emission is None or not shortest <= emission <= longest:
        of = f" of channel {chosen.name}" if chosen.channel.name or chosen.number else ""
        raise InputError(
            f"`na` needs the emission wavelength{of}, and the file does not say it", "add `wavelength` (nm)",
            option=("na", "wavelength"),
        )  # fmt: skip
    notice(f"{chosen.name}: emission wavelength {emission:g} nm, from the file")
    return emission


def _there(text: str | None, chosen: Chosen, option: str) -> str:
    if text is None:
        raise InputError(
            f"`{option}` is not given for channel {chosen.name}", f"add `{option}` {chosen.name}=…", option=option
        )
    return text
