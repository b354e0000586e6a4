"""The review page in a real browser: every tab and action, by mouse and by keyboard."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.dataset.decisions import HEADER, Decision, append_decisions, now, read_decisions
from pipeline.dataset.paths import decisions_path
from pipeline.dataset.split_table import read_split
from pipeline.pages.review.actions import ACTIONS
from pipeline.pages.review.app import make_page
from pipeline.pages.review.tabs.registry import TABS
from tests.browsing import PHONE, Tabs, faults, served
from tests.reviewing import LABELS, NAME, QUERY, WHO, Client, content_of
from tests.tables import drawn, encoded, sample, write

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.slow
PATH = decisions_path(NAME)
WINDOW: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}


def open_tab(tabs: Tabs, url: str, key: str = "all", **options: Any) -> Page:
    """Open a tab of the review page in a new window, and wait for its images."""
    page = tabs.open(f"{url}/review/{NAME}#{key}", **(WINDOW | options))
    page.wait_for_selector(".item")
    return page


def item(page: Page, sample_id: str) -> Locator:
    """Return the card of a sample, in whatever tab."""
    return page.locator(f".item:has(img[src*='{content_of(sample_id)}'])").first


def names(page: Page) -> list[str]:
    """Return the classes on the cards."""
    return page.locator(".item .name").all_text_contents()


def current(page: Page) -> str:
    """Return what a screen reader says about the current card."""
    active = page.locator("#grid").get_attribute("aria-activedescendant")
    return page.locator(f"#{active}").get_attribute("aria-label") or ""


def decided() -> list[tuple[str, str, str]]:
    """Return (sample id, action, label) of every decision on the disk."""
    known = {row.content_id: row.sample_id for row in reversed(read_split(NAME))}
    return [(known[each.content_id], each.action, each.label) for each in read_decisions(PATH)]


def wait_for(page: Page, text: str) -> None:
    """Wait until the status bar contains a text."""
    page.wait_for_function(
        "text => document.getElementById('decided').textContent.includes(text)", arg=text
    )


# what is shown


def test_every_tab_by_mouse_and_by_key(reader: Client, tabs: Tabs) -> None:
    page = tabs.open(f"{reader.origin}/", **WINDOW)
    page.wait_for_selector(".item")
    assert page.locator("[role=tab][aria-selected=true]").get_attribute("data-tab") == "losses"
    assert page.evaluate("document.activeElement.id") == "grid", "keys work at once"
    shows = {
        "losses": r"predicted \S+, 80% \(labelled .*\) loss \d\.\d\d · (validation|test)",
        "conflicts": r"2 · same bytes as 1",
        "duplicates": r"2 · \d bits? from 1",
        "suspects": r"predicted .*, 80% \(labelled .*, 10%\)",
        "rejected": r"label-conflict",
        "all": r"training set|validation set|test set",
    }
    assert shows.keys() == {tab.key for tab in TABS}
    for number, tab in enumerate(TABS, 1):
        for is_by_key in (False, True):
            page.evaluate("location.hash = ''")
            if is_by_key:
                page.keyboard.press(str(number))
            else:
                page.locator(f"#tab-{tab.key}").click()
            assert page.evaluate("location.hash") == f"#{tab.key}"
            label = page.locator("#grid").get_attribute("aria-label")
            assert label == f"Images: {tab.title}"
            assert (page.locator("#hint").text_content() or "") == tab.hint
            suggestion = page.locator("#actions .is-suggested .words").text_content()
            assert suggestion == tab.suggestion
            text = " ".join(page.locator(".item").all_inner_texts()).replace("\n", " ")
            assert re.search(shows[tab.key], text), (tab.key, text)
    page.locator("#tab-all").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.tab") == "losses", "the arrows go round"
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    for action in ACTIONS:
        assert action.help in page.locator("#keys").inner_text()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()


def test_text_from_elsewhere_is_never_parsed(reader: Client, tabs: Tabs) -> None:
    page = open_tab(tabs, reader.origin)
    page.on("dialog", lambda dialog: tabs.errors.append(f"a dialog: {dialog.message}"))
    page.locator("#of-class").select_option("jagoi")
    page.locator("#search").fill("script")
    page.wait_for_selector(".item .name:has-text('Jagoi')")
    assert set(names(page)) == {LABELS["jagoi"]}
    page.locator("#side", has_text=QUERY).wait_for()
    page.keyboard.press("Escape")
    page.keyboard.press("Enter")
    page.wait_for_selector("#viewer dd")
    assert QUERY in page.locator("#viewer").inner_text()
    assert page.locator("#page script, #page b, #viewer b").count() == 0


def test_search_filters_and_sorting(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url)
    rows = read_split(NAME)
    heading = page.locator(".block > .title").first
    assert heading.text_content() == f"{LABELS['jagoi']} · 12"
    page.keyboard.press("/")
    page.keyboard.type("ODISSI twice")
    page.wait_for_function("() => document.querySelectorAll('.item').length === 1")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "grid"
    page.locator("#search").fill("nothing like that")
    page.wait_for_selector("text=No image matches the search and filters.")
    page.locator("#search").fill("")
    page.wait_for_selector(".item")
    page.locator("#of-part").select_option(label="test set")
    assert page.locator(".item").count() == sum(row.part == "test" for row in rows)
    page.locator("#of-part").select_option("")

    page.locator("#order").select_option("loss")
    losses = [float(text) for text in page.locator(".caption").all_text_contents()[:5]]
    assert losses == sorted(losses)
    page.locator("#reverse").check()
    losses = [float(text) for text in page.locator(".caption").all_text_contents()[:5]]
    assert losses == sorted(losses, reverse=True)
    options = page.locator("#order option").all_text_contents()
    expected = {"class", "sample id", "set", "loss", "licence", "creator", "original bytes"}
    assert expected <= set(options)
    for option in page.locator("#order option").all():
        page.locator("#order").select_option(option.get_attribute("value"))
        assert page.locator(".item").count() > 0
    page.locator("#order").select_option("label")  # still reversed
    page.locator("#grid").focus()
    page.keyboard.press("Home")
    assert heading.text_content() == f"{LABELS['odissi']} · 14"

    page.locator("#order").select_option("")
    page.locator("#reverse").uncheck()
    before = page.locator(".item").first.bounding_box()
    page.locator("#grid").focus()
    page.keyboard.press("+")
    after = page.locator(".item").first.bounding_box()
    assert before is not None and after is not None and after["width"] > before["width"]
    page.keyboard.press("d")
    wait_for(page, "1 image with decisions")
    page.locator("#undecided").check()
    page.keyboard.press("6")
    assert page.locator(".item").first.get_attribute("aria-setsize") == str(len(rows) - 1)


def test_an_empty_dataset_names_the_commands(tabs: Tabs, project: Callable[..., Path]) -> None:
    project()
    with served(make_page(["dances", "tamil"], WHO)) as url:
        page = tabs.open(url, **WINDOW)
        page.locator("[role=tab][aria-selected=true]").wait_for()  # the script is ready
        for key, command in (
            ("losses", "dvc repro evaluate@dances"),
            ("suspects", "kalai suspects dances"),
            ("all", "dvc repro"),
        ):
            page.locator(f"#tab-{key}").click()
            assert page.locator("#empty code").text_content() == command
        for key in ("d", "Enter", "r", "j", "o", "s", "ArrowDown", "u", " "):
            page.keyboard.press(key)
        page.get_by_role("link", name="tamil").click()
        page.wait_for_selector("text=No images yet.")
        page.close()


# decisions


def test_every_action_by_mouse(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url)
    for name, button, badge in (
        ("jagoi/0", "Keep", "kept"),
        ("jagoi/1", "Delete", "deleted"),
        ("jagoi/2", "Not a duplicate", "not a duplicate"),
        ("jagoi/4", "Make keeper", "keeper"),
    ):
        item(page, name).click()
        page.locator("#actions").get_by_role("button", name=button, exact=True).click()
        item(page, name).locator(".verdict").wait_for()
        assert item(page, name).locator(".verdict").text_content() == badge
    item(page, "jagoi/5").click()
    page.locator("#actions").get_by_role("button", name="Relabel…").click()
    page.locator("#picker-input").fill("odi")
    page.locator("#picker-list").get_by_text("Oḍissi").click()
    item(page, "jagoi/5").locator(".verdict").wait_for()
    assert item(page, "jagoi/5").locator(".verdict").text_content() == "→ Oḍissi"
    item(page, "jagoi/0").click()
    page.locator("#actions").get_by_role("button", name="Withdraw").click()
    wait_for(page, "4 images with decisions")
    assert decided() == [
        ("jagoi/0", "keep", ""),
        ("jagoi/1", "delete", ""),
        ("jagoi/2", "not-duplicate", ""),
        ("jagoi/4", "keeper", ""),
        ("jagoi/5", "relabel", "odissi"),
        ("jagoi/0", "undo", ""),
    ]
    page.locator("#undo").click()
    wait_for(page, "3 images with decisions")
    assert decided()[-1] == ("jagoi/5", "undo", "")


def test_every_action_by_keyboard_alone(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url, "losses")
    press = page.keyboard.press
    first = re.split(",", current(page))[0]
    press("w")
    page.keyboard.type("a poster, not a dance")
    press("Enter")
    for key in ("d", "k", "n", "c", "s"):
        press(key)  # each goes on to the next image
    counts = "1 delete · 1 keep · 1 keeper · 1 not-duplicate · 1 relabel"
    wait_for(page, f"5 images with decisions: {counts}")
    press("Home")
    assert current(page).startswith(first)
    assert "decision: deleted" in current(page)
    assert read_decisions(PATH)[0].reason == "a poster, not a dance"
    press("t")
    wait_for(page, "4 images with decisions")
    press("s")
    wait_for(page, "2 relabel")
    press("Home")
    press("r")
    page.keyboard.type("<b>j")
    press("Enter")
    page.wait_for_selector(".toast:has-text('Relabelled 1 image to <b>Jagoi</b> & more')")
    assert read_decisions(PATH)[-1].label == "jagoi"
    press("r")
    press("ArrowDown")
    press("Escape")
    assert len(decided()) == 8, "the dialog was closed without a choice"
    press("u")
    page.wait_for_selector(".toast:has-text('Undone: relabel 1')")
    press("Control+z")
    wait_for(page, "4 images with decisions: 1 keep · 1 keeper · 1 not-duplicate · 1 relabel")
    press("Home")
    press("j")
    assert "decision" not in current(page)
    assert page.evaluate("document.activeElement.id") == "grid"


def test_many_at_once(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url)
    item(page, "jagoi/0").click()
    item(page, "jagoi/2").click(modifiers=["Shift"])
    about = page.locator("#actions .about")
    order = [row.sample_id for row in read_split(NAME)]
    assert order.index("jagoi/2") - order.index("jagoi/0") == 2
    assert about.text_content() == "3 images selected"
    item(page, "jagoi/1").click(modifiers=["Control"])
    item(page, "jagoi/4").hover()
    item(page, "jagoi/4").locator(".tick").click()
    assert about.text_content() == "3 images selected"
    page.keyboard.press("d")
    wait_for(page, "3 images with decisions: 3 delete")
    assert {name for name, _, _ in decided()} == {"jagoi/0", "jagoi/2", "jagoi/4"}
    assert len({each.time for each in read_decisions(PATH)}) == 1
    page.locator(".toast").get_by_role("button", name="Undo").click()
    wait_for(page, "No decisions yet.")

    item(page, "jagoi/0").click()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert about.text_content() == "3 images selected"
    page.keyboard.press("Escape")
    assert about.text_content() == "Current image"
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    assert about.text_content() == "2 images selected"
    page.locator("#of-class").select_option("odissi")
    page.locator("#grid").focus()
    page.keyboard.press("Control+a")
    shown = {row.content_id for row in read_split(NAME) if row.label == "odissi"}
    assert about.text_content() == f"{len(shown)} images selected"
    page.keyboard.press("k")
    wait_for(page, f"{len(shown)} images with decisions: {len(shown)} keep")


def test_a_conflict_is_settled_by_one_key_and_a_keeper_is_chosen(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url, "conflicts")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    wait_for(page, "1 relabel")
    assert len(decided()) == 1, "both samples hold one content"
    assert page.locator(".item .verdict").all_text_contents() == [
        f"→ {names(page)[1]}",
        f"→ {names(page)[1]}",
    ]
    page.keyboard.press("3")
    kept = page.locator(".item .keeper").first
    assert kept.text_content() == "★ kept"
    assert item(page, "kathak/0").locator(".keeper").count() == 1
    page.keyboard.press("ArrowRight")
    page.keyboard.press("c")
    item(page, "kathak/near").locator(".keeper").wait_for()
    assert item(page, "kathak/0").locator(".keeper").count() == 0
    page.locator("#of-kind").select_option("Possible mirror images")
    assert page.locator(".block > .title").first.text_content() == "Possible mirror images"
    assert "mirrored, 0 bits from 1" in page.locator("#grid").inner_text()


def test_the_viewer_shows_every_fact(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url)
    page.context.route("https://**", lambda route: route.abort())
    item(page, "jagoi/0").dblclick()
    facts = page.locator("#viewer .facts")
    facts.locator("dd").first.wait_for()
    link = facts.get_by_role("link", name="https://photos.example/jagoi/0.html")
    assert link.get_attribute("rel") == "noopener noreferrer"
    for text in ("Meera =SUM(1)", "by-sa", QUERY, "jagoi/0", "No decisions yet."):
        assert text in facts.inner_text(), text
    image = page.locator("#viewer .large img")
    page.wait_for_function("() => document.querySelector('#viewer .large img').naturalWidth > 0")
    assert "/whole/" in (image.get_attribute("src") or "")
    page.keyboard.press("ArrowRight")
    assert page.locator("#viewer .place").text_content() == "2 of 39"
    page.keyboard.press("d")
    assert page.locator("#viewer .place").text_content() == "3 of 39"
    page.locator("#viewer").get_by_role("button", name="Previous").click()
    page.wait_for_selector("#viewer .history >> text=delete")
    assert WHO in facts.inner_text()
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "grid"
    with page.context.expect_page() as opened:
        page.keyboard.press("o")
    opened.value.close()
    tabs.errors = [error for error in tabs.errors if "photos.example" not in error]

    page.keyboard.press("1")  # top losses
    page.keyboard.press("Enter")
    facts.locator("dt", has_text="Predicted").wait_for()
    assert re.search(r"Predicted\s+\S+.* \(80%\)", facts.inner_text())
    page.keyboard.press("Escape")

    page.keyboard.press("5")
    page.locator("#of-kind").select_option("http-404")
    page.locator("#grid").focus()
    page.keyboard.press("Enter")
    assert "Not Found" in facts.inner_text()
    assert "https://photos.example/kathak/gone.jpg.html" in facts.inner_text()
    page.keyboard.press("d")
    page.keyboard.press("Escape")
    assert len(decided()) == 1, "nothing can be decided about a file that is no sample"


def test_decisions_survive_a_reload_and_can_be_undone_after_it(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url, "suspects")
    for key in ("d", "k", "s"):
        page.keyboard.press(key)
    wait_for(page, "3 images with decisions")
    page.reload()
    page.wait_for_selector(".item .verdict")
    assert page.evaluate("location.hash") == "#suspects"
    assert page.locator(".item .verdict").count() == 3
    page.keyboard.press("u")
    wait_for(page, "2 images with decisions: 1 delete · 1 keep")
    held_out = page.locator("#decided .warn")
    held_out.wait_for()
    text = held_out.text_content() or ""
    assert re.search(r"\d in the (validation|test) set, counted separately", text)
    page.locator("#next-run summary").click()
    assert page.locator("#held-out-warning").is_visible()
    assert "split, train, evaluate" in page.locator("#next-summary").inner_text()


def test_two_tabs_and_other_programs_see_each_other(url: str, tabs: Tabs) -> None:
    one = open_tab(tabs, url)
    other = tabs.open(f"{url}/review/{NAME}#all", beside=one)
    other.wait_for_selector(".item")
    item(one, "jagoi/0").click()
    one.keyboard.press("d")
    item(other, "jagoi/0").locator(".verdict").wait_for()
    wait_for(other, "1 image with decisions: 1 delete")

    content_id = content_of("jagoi/1")
    append_decisions(PATH, [Decision(now(), content_id, "keep", who="a program")])
    for page in (one, other):
        page.bring_to_front()
        item(page, "jagoi/1").locator(".verdict").wait_for()
    append_decisions(PATH, [Decision(now(), content_id, "keeper", who="a program")])
    other.keyboard.press("u")  # if the tab does not know the last one yet, nothing is undone
    other.locator(".toast").wait_for()
    if "Not undone" in (other.locator(".toast").text_content() or ""):
        assert [each.action for each in read_decisions(PATH)] == ["delete", "keep", "keeper"]
        tabs.errors = [error for error in tabs.errors if "409" not in error]
    else:
        assert read_decisions(PATH)[-1].action == "undo"


def test_a_failure_to_save_is_shown(tabs: Tabs, root: Path) -> None:
    with served(make_page([NAME], WHO)) as url:
        page = open_tab(tabs, url)
        PATH.write_text("nonsense\n")
        page.keyboard.press("d")
        page.wait_for_selector(".toast.is-bad")
        assert f"Not saved: {PATH}:1" in page.locator(".toast").inner_text()
        page.locator(".toast").get_by_role("button", name="Close").click()
        assert page.locator(".item .verdict").count() == 0
        PATH.write_text(",".join(HEADER) + "\n")
        page.wait_for_selector("#banner", state="hidden")
        write(NAME, [sample("one", "kathak")])
        page.wait_for_selector("text=dvc repro has written new data.")
        page.get_by_role("button", name="Reload").click()
        page.wait_for_function("() => document.querySelectorAll('.item').length === 1")
    page.wait_for_selector("text=kalai review has stopped")
    assert page.locator("#actions button:enabled").count() == 0
    assert {re.sub(r".*(Failed to load resource).*", r"\1", each) for each in tabs.errors} == {
        "Failed to load resource"
    }
    tabs.errors.clear()


# small windows and accessibility


def test_on_a_phone(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    card = item(page, "jagoi/0")
    card.locator(".tick").tap()
    item(page, "jagoi/1").locator(".tick").tap()
    page.locator("#actions").get_by_role("button", name="Delete").tap()
    wait_for(page, "2 images with decisions: 2 delete")
    page.locator("#filters > summary").tap()
    page.locator("#of-part").select_option("train")
    page.locator("#filters > summary").tap()
    page.locator(".item .enlarge").first.tap()
    page.wait_for_selector("#viewer dd")
    box = page.locator("#viewer").bounding_box()
    assert box is not None
    assert (box["x"], box["width"]) == (0, 375)
    page.locator("#viewer").get_by_role("button", name="Keep", exact=True).tap()
    wait_for(page, "keep")
    assert faults(page) == []


def test_axe_finds_no_fault_in_either_colour_scheme(url: str, tabs: Tabs) -> None:
    page = open_tab(tabs, url, "losses", color_scheme="light", reduced_motion="reduce")

    def check(what: object) -> None:
        """Check all rules in the light scheme; the dark one differs in its colours only."""
        assert faults(page) == [], what
        page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        assert faults(page, "color-contrast") == [], what
        page.emulate_media(color_scheme="light", reduced_motion="reduce")

    for key in ("d", "k", "s", "n", "Shift+ArrowRight"):
        page.keyboard.press(key)
    wait_for(page, "counted separately")
    for number in range(1, len(TABS) + 1):
        page.keyboard.press(str(number))
        check(number)
    page.locator("#next-run summary").click()
    page.locator("#search").fill("no such thing")
    page.wait_for_selector("text=No image matches")
    check("next run, and nothing found")
    page.locator("#search").fill("")
    page.wait_for_selector(".item")
    page.locator("#grid").focus()
    for key, dialog in (("Enter", "#viewer dd"), ("r", "#picker"), ("?", "#keys")):
        page.keyboard.press(key)
        page.wait_for_selector(dialog)
        check(dialog)
        page.keyboard.press("Escape")


def test_the_focus_follows_the_order_of_the_page(reader: Client, tabs: Tabs) -> None:
    page = open_tab(tabs, reader.origin)
    page.locator(".skip").focus()
    visited = ["skip"]
    for _ in range(40):
        page.keyboard.press("Tab")
        at = page.evaluate("[document.activeElement].map(at => at.id || at.className)[0]")
        if at == visited[0]:
            break
        visited.append(at)
    order = ["skip", "tab-all", "show-keys", "search", "of-class", "undecided", "grid", "reason"]
    places = [visited.index(name) for name in order]
    assert places == sorted(places), visited
    assert sum(name.startswith("tab-") for name in visited) == 1, "one stop for all tabs"
    assert visited.count("grid") == 1, "one stop for all images"


def test_ten_thousand_images(tabs: Tabs, project: Callable[..., Path]) -> None:
    """tests/benchmarks/review.py measures the time; this holds on any machine."""
    project()
    data = encoded(drawn(1, (64, 48)))
    image = {"bytes": data, "path": "one.jpg"}
    write("dances", [sample(n, f"class {n % 40:02}", image=image) for n in range(10_000)])
    with served(make_page(["dances"], WHO)) as url:
        started = time.monotonic()
        page = tabs.open(f"{url}/#all", **WINDOW)
        page.wait_for_selector(".item")
        page.wait_for_function("() => document.querySelector('.item img').naturalWidth > 0")
        print(f"10,000 images: first row after {time.monotonic() - started:.2f} s")
        assert page.locator(".item").count() < 150, "cards out of sight are not in the page"
        page.keyboard.press("End")
        assert page.locator(".item.current").get_attribute("aria-posinset") == "10000"
        assert page.locator(".item").count() < 150
        page.keyboard.press("PageUp")
        page.keyboard.press("Control+a")
        page.keyboard.press("d")
        wait_for(page, "10,000 images with decisions: 10,000 delete")
        page.locator("#search").fill("class 07/47")
        page.wait_for_function("() => document.querySelectorAll('.item').length < 20")
        page.close()
    with decisions_path("dances").open(newline="") as file:
        assert sum(1 for _ in csv.reader(file)) == 10_001
