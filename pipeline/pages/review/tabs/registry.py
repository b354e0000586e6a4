"""The tabs of the review page, in the order in which it shows them.

To add a tab, write a module with a `TAB` and add it here.
"""

from __future__ import annotations

from pipeline.pages.review.tabs import (
    all_images,
    label_conflicts,
    near_duplicates,
    rejected_images,
    suspect_labels,
    top_losses,
)
from pipeline.pages.review.tabs.tab import Tab

TABS: tuple[Tab, ...] = (
    top_losses.TAB,
    label_conflicts.TAB,
    near_duplicates.TAB,
    suspect_labels.TAB,
    rejected_images.TAB,
    all_images.TAB,
)
