"""The table of sections: each has an address of its own and says what is missing."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import pipeline.report
from pipeline.report.blocks import Missing
from pipeline.report.items import Definition
from pipeline.report.runs import in_working_tree
from pipeline.report.sections import SECTIONS, plans, sections


def test_every_section_module_is_in_the_table() -> None:
    folder = Path(inspect.getfile(pipeline.report)).parent
    modules = {path.stem for path in folder.glob("*_section.py")}
    defined = {
        name
        for name in modules
        for value in vars(__import__(f"pipeline.report.{name}", fromlist=[name])).values()
        if isinstance(value, Definition) and value in SECTIONS
    }
    assert defined == modules and len(SECTIONS) == len(modules)


def test_keys_and_headings_are_unique() -> None:
    assert len({section.key for section in SECTIONS}) == len(SECTIONS)
    assert len({section.heading for section in SECTIONS}) == len(SECTIONS)
    assert len(set(plans())) == len(plans()), "a gallery is shown once"


def test_before_any_stage_each_section_names_a_command(project: Callable[..., Path]) -> None:
    project()
    galleries = {plan: [Missing("no images", "dvc pull")] for plan in plans()}
    for section in sections(in_working_tree("tamil"), None, galleries):
        if section.key != "decisions":
            commands = [block.command for block in section.blocks if isinstance(block, Missing)]
            assert commands and len(commands) == len(section.blocks), section.key
            assert all(each.endswith("@tamil") or each == "dvc pull" for each in commands)
            assert len(set(commands)) == len(commands), "a section names a command once"
