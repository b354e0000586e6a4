"""The actions of the review page: the buttons and keys that decide about images.

To add one, add it here; `pipeline.dataset.decisions` says what a decision's action means.
"""

from __future__ import annotations

from typing import NamedTuple


class Action(NamedTuple):
    """One button: its key, the action that it writes, and the texts that the page shows."""

    key: str
    action: str  # a decision's action; SUGGESTED is written as a relabel to the tab's label
    words: str  # on the button
    help: str  # in the list of keys
    done: str  # shown before "3 images"


SUGGESTED = "suggested"
ACTIONS = (
    Action("K", "keep", "Keep", "Keep the image, whatever dedupe says", "Kept"),
    Action("D", "delete", "Delete", "Delete the image from the dataset", "Deleted"),
    Action("R", "relabel", "Relabel…", "Choose another class", "Relabelled"),
    Action(
        "S",
        SUGGESTED,
        "Relabel as predicted",
        "Relabel as predicted; on the tab “Label conflicts”: use this class for the cluster",
        "Relabelled",
    ),
    Action(
        "N",
        "not-duplicate",
        "Not a duplicate",
        "Mark the image as no duplicate of any other",
        "Separated",
    ),
    Action(
        "C", "keeper", "Make keeper", "Keep this image and none of its duplicates", "Made keepers:"
    ),
    Action("T", "undo", "Withdraw", "Withdraw the image's last decision", "Withdrawn:"),
)
