"""The table of the report's sections. A new section is a module with a Definition, added here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.report.blocks import Block, Missing, Section
from pipeline.report.confusion_section import CONFUSION
from pipeline.report.data_section import DATA
from pipeline.report.decisions_section import DECISIONS
from pipeline.report.duplicates_section import DUPLICATES
from pipeline.report.galleries import Plan
from pipeline.report.items import Context, Definition, Images
from pipeline.report.losses_section import LOSSES
from pipeline.report.results_section import RESULTS
from pipeline.report.runs import Run
from pipeline.report.split_section import SPLIT
from pipeline.report.summary_section import SUMMARY
from pipeline.report.training_section import TRAINING

SECTIONS: tuple[Definition, ...] = (
    SUMMARY,
    DATA,
    DUPLICATES,
    SPLIT,
    TRAINING,
    RESULTS,
    CONFUSION,
    LOSSES,
    DECISIONS,
)


def plans() -> list[Plan]:
    """Return the plans of all galleries."""
    items = [item for section in SECTIONS for item in section.items]
    return [item.plan for item in items if isinstance(item, Images)]


def sections(
    run: Run, before: Run | None, galleries: Mapping[Plan, Sequence[Block]]
) -> list[Section]:
    """Return the sections about one dataset.

    Raises PipelineError with the path of a report that is damaged.
    """
    context = Context(run, before, galleries)
    return [
        Section(
            section.key,
            section.heading,
            once([block for item in section.items for block in item.blocks(context)]),
        )
        for section in SECTIONS
    ]


def once(blocks: Sequence[Block]) -> list[Block]:
    """Return the blocks; of several Missing blocks with one command, only the first."""
    commands: set[str] = set()
    kept = []
    for block in blocks:
        if not isinstance(block, Missing) or block.command not in commands:
            kept.append(block)
        if isinstance(block, Missing):
            commands.add(block.command)
    return kept
