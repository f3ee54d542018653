"""What a user should record and check, after Laine, Jacquemet and Krull, Nature Methods 18, 1136 (2021)."""

from zsd_export.report.case import Case
from zsd_export.report.lights import WORDS, Light
from zsd_export.report.parts import Item, Section

INTRO = (
    "After R. F. Laine, G. Jacquemet and A. Krull, “Imaging in focus: an introduction to denoising bioimages in the "
    "era of deep learning” (2021), and R. F. Laine, I. Arganda-Carreras, R. Henriques and G. Jacquemet, “Avoiding a "
    "replication crisis in deep-learning-based bioimage analysis”, Nature Methods 18, 1136 (2021). Ticked is what this "
    "report knows; open is what only you can know."
)


def checklist_section(case: Case, sections: dict[str, Section]) -> Section:
    """The list, filled in as far as the report can."""
    measured, training, facts = case.opened.measured, case.opened.training, case.description.facts
    said = facts.get("trained_on")
    trained_on = said if isinstance(said, dict) else {}
    versions = measured.get("versions")
    held_out = measured.get("held_out_error")
    items = (
        Item("The images that the model was trained on are recorded.", str(trained_on.get("Images", ""))),
        Item("Method, network, settings and seed are recorded.", ", ".join(filter(None, [
            str(facts.get("method", "")), f"preset {training['preset']}" if "preset" in training else "",
            f"seed {training['seed']}" if "seed" in training else "",
        ]))),
        Item("Software versions are recorded.", ", ".join(f"{k} {v}" for k, v in (versions or {}).items())),
        Item("Overfitting was looked for with pixels that took no part in the training.",
             f"held-out error {held_out:.4g}; {measured.get('stopped', '')}" if held_out is not None else ""),
        Item("The image is like those of the training.", _said(sections.get("fit"), claims=True)),
        Item("The result was compared with a truth: clean data, a mean of many exposures, another microscope.",
             _said(sections.get("truth"))),
        Item("What was taken away was looked at, and is noise.", _said(sections.get("residual"), claims=True)),
        Item("Errors were mapped by blurring the result again.", _said(sections.get("error_map"))),
        Item("The network was compared with a classical filter.", _said(sections.get("uncertainty"))),
        Item("Intensities of the result were compared with the raw ones.", _said(sections.get("linearity"))),
        Item("I looked at raw and restored image side by side, and found no structure that the raw image does not "
            "support."),
        Item("The restored structures are known from the sample, or were confirmed by another experiment."),
        Item("The model was tried on several images of each condition, also on controls, not on the best one only."),
        Item("All conditions that are compared were restored by the same model, or each by a model of its own, in the "
             "same way."),
        Item("Intensities are measured in raw images, or the linearity was checked for this purpose."),
        Item("A second training (another seed) gives the same structures."),
        Item("Figures show a raw image beside the restored one and say that a network was used, which and how."),
        Item("Raw images, the package, this report and its checksums are kept, and are published with the results."),
    )  # fmt: skip
    return Section("checklist", "Checklist", INTRO, items=items, judged=False)


def _said(section: Section | None, *, claims: bool = False) -> str:
    """What a section found, for a line that is ticked; empty if it knows nothing, or less good than a line `claims`."""
    light = section.light if section else None
    if section is None or light in (None, Light.GREY) or (claims and light != Light.GREEN):
        return ""
    return f"{WORDS[light]}: see “{section.title}”"
