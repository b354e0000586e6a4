"""The review page in a real browser: every tab and action, by mouse and by keyboard alone."""

from __future__ import annotations

import csv
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.dataset.decisions import Decision, append_decisions, now, read_decisions
from pipeline.dataset.paths import dataset_folder
from pipeline.pages.review.page import make_page
from tests.browsing import PHONE, Tabs, browser, faults, served, tabs
from tests.reviewing import LABELS, NAME, QUERY, made, split_rows, stage
from tests.tables import drawn, encoded, sample, write

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

__all__ = ["browser", "made", "stage", "tabs"]  # fixtures

PATH = Path("data") / NAME / "decisions.csv"
WHO = "Anna <anna@example.org>"
TABS = ("losses", "conflicts", "duplicates", "suspects", "rejected", "all")
BOX: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}


@pytest.fixture
def url(stage: Path) -> Iterator[str]:
    """Serve the drawn dataset; asked for before `tabs`, it outlives them."""
    with served(make_page([NAME], WHO)) as address:
        yield address


def look(tabs: Tabs, url: str, tab: str = "all", **options: Any) -> Page:
    page = tabs.open(f"{url}/review/{NAME}#{tab}", **(BOX | options))
    page.wait_for_selector(".item")
    return page


def item(page: Page, sample_id: str) -> Locator:
    """Find the card of a sample by its place in the index, in whatever tab."""
    rows = [row["sample_id"] for row in split_rows()]
    content = split_rows()[rows.index(sample_id)]["content_id"]
    return page.locator(f".item:has(img[src*='{content}'])").first


def names(page: Page) -> list[str]:
    return page.locator(".item .name").all_text_contents()


def current(page: Page) -> str:
    """Return what a screen reader would say of the current card."""
    active = page.locator("#grid").get_attribute("aria-activedescendant")
    return page.locator(f"#{active}").get_attribute("aria-label") or ""


def said() -> list[tuple[str, str, str]]:
    """Return (sample id, action, label) of every decision on the disk."""
    known = {row["content_id"]: row["sample_id"] for row in reversed(split_rows())}
    found = read_decisions(PATH)
    return [(known[each.content_id], each.action, each.label) for each in found]


def wait_for(page: Page, text: str) -> None:
    page.wait_for_function(
        "text => document.getElementById('decided').textContent.includes(text)", arg=text
    )


# ---- what is shown


def test_every_tab_by_mouse_and_by_key(url: str, tabs: Tabs) -> None:
    page = tabs.open(f"{url}/", **BOX)
    page.wait_for_selector(".item")
    assert page.locator("[role=tab][aria-selected=true]").get_attribute("data-tab") == "losses"
    assert page.evaluate("document.activeElement.id") == "grid", "keys work at once"
    shows = {
        "losses": r"as |rightly",
        "conflicts": r"2 · same bytes as 1",
        "duplicates": r"2 · \d bits?",
        "suspects": r"rather .*80%, its label",
        "rejected": r"label-conflict",
        "all": r"train|valid|test",
    }
    for number, name in enumerate(TABS, 1):
        for is_by_key in (False, True):
            page.evaluate("location.hash = ''")
            if is_by_key:
                page.keyboard.press(str(number))
            else:
                page.locator(f"#tab-{name}").click()
            assert page.evaluate("location.hash") == f"#{name}"
            text = " ".join(page.locator(".item").all_inner_texts()).replace("\n", " ")
            assert re.search(shows[name], text), (name, text)
    page.locator("#tab-all").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.tab") == "losses", "the arrows go round"
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#keys").is_visible()


def test_names_from_outside_are_text(url: str, tabs: Tabs) -> None:
    page = look(tabs, url)
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
    page = look(tabs, url)
    count = len(split_rows())
    heading = page.locator(".block > .title").first
    assert heading.text_content() == f"{LABELS['jagoi']} · 12"
    page.keyboard.press("/")
    page.keyboard.type("ODISSI twice")
    page.wait_for_function("() => document.querySelectorAll('.item').length === 1")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "grid"
    page.locator("#search").fill("nothing like that")
    page.wait_for_selector("text=Nothing here fits the search.")
    page.locator("#search").fill("")
    page.wait_for_selector(".item")
    page.locator("#of-part").select_option("test")
    shown = {row["sample_id"] for row in split_rows() if row["part"] == "test"}
    assert page.locator(".item").count() == len(shown)
    page.locator("#of-part").select_option("")

    page.locator("#order").select_option("loss")
    losses = [float(text) for text in page.locator(".caption").all_text_contents()[:5]]
    assert losses == sorted(losses)
    page.locator("#reverse").check()
    losses = [float(text) for text in page.locator(".caption").all_text_contents()[:5]]
    assert losses == sorted(losses, reverse=True)
    options = page.locator("#order option").all_text_contents()
    assert {"class", "id", "part", "loss", "licence", "creator", "bytes found"} <= set(options)
    for option in page.locator("#order option").all():
        page.locator("#order").select_option(option.get_attribute("value"))
        assert page.locator(".item").count() > 0

    page.locator("#order").select_option("")
    page.locator("#reverse").uncheck()
    before = page.locator(".item").first.bounding_box()
    page.locator("#grid").focus()
    page.keyboard.press("+")
    after = page.locator(".item").first.bounding_box()
    assert before is not None and after is not None and after["width"] > before["width"]
    page.keyboard.press("d")
    wait_for(page, "1 picture decided")
    page.locator("#undecided").check()
    page.keyboard.press("6")
    assert page.locator(".item").first.get_attribute("aria-setsize") == str(count - 1)


def test_a_dataset_without_anything_says_what_to_run(
    tabs: Tabs, project: Callable[..., Path]
) -> None:
    project()
    with served(make_page(["dances", "tamil"], WHO)) as url:
        page = tabs.open(url, **BOX)
        for name, command in (
            ("losses", "dvc repro evaluate@dances"),
            ("suspects", "kalai suspects dances"),
            ("all", "dvc repro"),
        ):
            page.locator(f"#tab-{name}").click()
            assert page.locator("#empty code").text_content() == command
        for key in ("d", "Enter", "r", "j", "o", "s", "ArrowDown", "u", " "):
            page.keyboard.press(key)
        page.get_by_role("link", name="tamil").click()
        page.wait_for_selector("text=No samples yet.")
        page.close()


# ---- what is decided


def test_every_action_by_mouse(url: str, tabs: Tabs) -> None:
    page = look(tabs, url)
    for name, button, says in (
        ("jagoi/0", "Keep", "kept"),
        ("jagoi/1", "Delete", "deleted"),
        ("jagoi/2", "Not a duplicate", "not a duplicate"),
        ("jagoi/4", "Choose to keep", "chosen to keep"),
    ):
        item(page, name).click()
        page.locator("#actions").get_by_role("button", name=button, exact=True).click()
        item(page, name).locator(".verdict").wait_for()
        assert item(page, name).locator(".verdict").text_content() == says
    item(page, "jagoi/5").click()
    page.locator("#actions").get_by_role("button", name="Relabel…").click()
    page.locator("#picker-input").fill("odi")
    page.locator("#picker-list").get_by_text("Oḍissi").click()
    item(page, "jagoi/5").locator(".verdict").wait_for()
    assert item(page, "jagoi/5").locator(".verdict").text_content() == "→ Oḍissi"
    item(page, "jagoi/0").click()
    page.locator("#actions").get_by_role("button", name="Take back").click()
    wait_for(page, "4 pictures decided")
    assert said() == [
        ("jagoi/0", "keep", ""),
        ("jagoi/1", "delete", ""),
        ("jagoi/2", "not-duplicate", ""),
        ("jagoi/4", "keeper", ""),
        ("jagoi/5", "relabel", "odissi"),
        ("jagoi/0", "undo", ""),
    ]
    page.locator("#undo").click()
    wait_for(page, "3 pictures decided")
    assert said()[-1] == ("jagoi/5", "undo", "")


def test_every_action_by_keyboard_alone(url: str, tabs: Tabs) -> None:
    page = look(tabs, url, "losses")
    press = page.keyboard.press
    first = re.split(",", current(page))[0]
    press("w")
    page.keyboard.type("a poster, not a dance")
    press("Enter")
    for key in ("d", "k", "n", "c", "s"):
        press(key)  # each goes on to the next picture
    wait_for(page, "5 pictures decided: 1 delete · 1 keep · 1 keeper · 1 not-duplicate · 1 relabel")
    press("Home")
    assert current(page).startswith(first)
    assert "decided: deleted" in current(page)
    assert read_decisions(PATH)[0].reason == "a poster, not a dance"
    press("t")
    wait_for(page, "4 pictures decided")
    press("s")
    wait_for(page, "2 relabel")
    press("Home")
    press("r")
    page.keyboard.type("<b>j")
    press("Enter")
    page.wait_for_selector(".toast:has-text('Jagoi')")
    assert read_decisions(PATH)[-1].label == "jagoi"
    press("r")
    press("ArrowDown")
    press("Escape")
    assert len(said()) == 8, "closed, and nothing chosen"
    press("u")
    page.wait_for_selector(".toast:has-text('Undone: relabel 1')")
    press("Control+z")
    wait_for(page, "4 pictures decided: 1 keep · 1 keeper · 1 not-duplicate · 1 relabel")
    press("Home")
    press("j")
    assert "decided" not in current(page)
    assert page.evaluate("document.activeElement.id") == "grid"


def test_many_at_once(url: str, tabs: Tabs) -> None:
    page = look(tabs, url)
    item(page, "jagoi/0").click()
    item(page, "jagoi/2").click(modifiers=["Shift"])
    about = page.locator("#actions .about")
    order = [row["sample_id"] for row in split_rows()]
    assert order.index("jagoi/2") - order.index("jagoi/0") == 2
    assert about.text_content() == "3 pictures selected"
    item(page, "jagoi/1").click(modifiers=["Control"])
    item(page, "jagoi/4").hover()
    item(page, "jagoi/4").locator(".tick").click()
    assert about.text_content() == "3 pictures selected"
    page.keyboard.press("d")
    wait_for(page, "3 pictures decided: 3 delete")
    assert {name for name, _, _ in said()} == {"jagoi/0", "jagoi/2", "jagoi/4"}
    assert len({each.time for each in read_decisions(PATH)}) == 1
    page.locator(".toast").get_by_role("button", name="Undo").click()
    wait_for(page, "Nothing decided yet.")

    item(page, "jagoi/0").click()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert about.text_content() == "3 pictures selected"
    page.keyboard.press("Escape")
    assert about.text_content() == "This picture"
    page.keyboard.press(" ")
    page.keyboard.press("ArrowRight")
    page.keyboard.press(" ")
    assert about.text_content() == "2 pictures selected"
    page.locator("#of-class").select_option("odissi")
    page.locator("#grid").focus()
    page.keyboard.press("Control+a")
    shown = {row["content_id"] for row in split_rows() if row["label"] == "odissi"}
    assert about.text_content() == f"{len(shown)} pictures selected"
    page.keyboard.press("k")
    wait_for(page, f"{len(shown)} pictures decided: {len(shown)} keep")


def test_a_conflict_is_settled_with_one_key_and_a_keeper_chosen(url: str, tabs: Tabs) -> None:
    page = look(tabs, url, "conflicts")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("s")
    wait_for(page, "1 relabel")
    assert len(said()) == 1, "both are one content"
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
    page.locator("#of-kind").select_option("Perhaps mirrored")
    assert page.locator(".block > .title").first.text_content() == "Perhaps mirrored"
    assert "0 bits mirrored" in page.locator("#grid").inner_text()


def test_the_larger_view_has_all_that_is_known(url: str, tabs: Tabs) -> None:
    page = look(tabs, url)
    page.context.route("https://**", lambda route: route.abort())
    item(page, "jagoi/0").dblclick()
    facts = page.locator("#viewer .facts")
    facts.locator("dd").first.wait_for()
    link = facts.get_by_role("link", name="https://photos.example/jagoi/0.html")
    assert link.get_attribute("rel") == "noopener noreferrer"
    for text in ("Meera =SUM(1)", "by-sa", QUERY, "jagoi/0", "Nothing decided yet."):
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

    page.locator("#of-class").select_option("")
    page.keyboard.press("5")
    page.locator("#of-kind").select_option("http-404")
    page.locator("#grid").focus()
    page.keyboard.press("Enter")
    assert "Not Found" in facts.inner_text()
    assert "https://photos.example/kathak/gone.jpg.html" in facts.inner_text()
    page.keyboard.press("d")
    page.keyboard.press("Escape")
    assert len(said()) == 1, "there is nothing to decide about what is no sample"


def test_what_is_decided_survives_a_reload_and_can_be_undone_after_it(url: str, tabs: Tabs) -> None:
    page = look(tabs, url, "suspects")
    for key in ("d", "k", "s"):
        page.keyboard.press(key)
    wait_for(page, "3 pictures decided")
    page.reload()
    page.wait_for_selector(".item .verdict")
    assert page.evaluate("location.hash") == "#suspects"
    assert page.locator(".item .verdict").count() == 3
    page.keyboard.press("u")
    wait_for(page, "2 pictures decided: 1 delete · 1 keep")
    apart = page.locator("#decided .warn")
    apart.wait_for()
    assert re.search(r"\d in (valid|test).*counted apart", apart.text_content() or "")
    page.locator("#ahead summary").click()
    assert page.locator("#flatters").is_visible()
    assert "split, train, evaluate" in page.locator("#ahead-says").inner_text()


def test_two_tabs_and_other_programs_know_of_each_other(url: str, tabs: Tabs) -> None:
    one = look(tabs, url)
    other = tabs.open(f"{url}/review/{NAME}#all", beside=one)
    other.wait_for_selector(".item")
    item(one, "jagoi/0").click()
    one.keyboard.press("d")
    item(other, "jagoi/0").locator(".verdict").wait_for()
    wait_for(other, "1 picture decided: 1 delete")

    content = next(row["content_id"] for row in split_rows() if row["sample_id"] == "jagoi/1")
    append_decisions(PATH, [Decision(now(), content, "keep", who="a program")])
    for page in (one, other):
        page.bring_to_front()
        item(page, "jagoi/1").locator(".verdict").wait_for()
    append_decisions(PATH, [Decision(now(), content, "keeper", who="a program")])
    other.keyboard.press("u")  # it may not know of the last one yet: then nothing is undone
    other.locator(".toast").wait_for()
    if "Not undone" in (other.locator(".toast").text_content() or ""):
        assert [each.action for each in read_decisions(PATH)] == ["delete", "keep", "keeper"]
        tabs.errors = [error for error in tabs.errors if "409" not in error]
    else:
        assert read_decisions(PATH)[-1].action == "undo"


def test_what_cannot_be_saved_is_said(tabs: Tabs, stage: Path) -> None:
    with served(make_page([NAME], WHO)) as url:
        page = look(tabs, url)
        PATH.write_text("nonsense\n")
        page.keyboard.press("d")
        page.wait_for_selector(".toast.is-bad")
        assert "Not saved: data/stage/decisions.csv:1" in page.locator(".toast").inner_text()
        page.locator(".toast").get_by_role("button", name="Close").click()
        assert page.locator(".item .verdict").count() == 0
        PATH.write_text("time,content_id,action,label,reason,who\n")
        page.wait_for_selector("#banner", state="hidden")
        write(NAME, [sample("one", "kathak")])
        page.get_by_role("button", name="Load them").click()
        page.wait_for_function("() => document.querySelectorAll('.item').length === 1")
    page.wait_for_selector("text=kalai review has ended")
    assert page.locator("#actions button:enabled").count() == 0
    assert {re.sub(r".*(Failed to load resource).*", r"\1", each) for each in tabs.errors} == {
        "Failed to load resource"
    }
    tabs.errors.clear()


# ---- everybody


def test_on_a_phone(url: str, tabs: Tabs) -> None:
    page = look(tabs, url, **PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 375
    card = item(page, "jagoi/0")
    card.locator(".tick").tap()
    item(page, "jagoi/1").locator(".tick").tap()
    page.locator("#actions").get_by_role("button", name="Delete").tap()
    wait_for(page, "2 pictures decided: 2 delete")
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_serious_stands_in_anybodys_way(url: str, tabs: Tabs, scheme: str) -> None:
    page = look(tabs, url, "losses", color_scheme=scheme, reduced_motion="reduce")
    for key in ("d", "k", "s", "n", "Shift+ArrowRight"):
        page.keyboard.press(key)
    wait_for(page, "counted apart")
    for number in range(1, 7):
        page.keyboard.press(str(number))
        assert faults(page) == [], number
    page.locator("#ahead summary").click()
    page.locator("#search").fill("no such thing")
    page.wait_for_selector("text=Nothing here fits")
    assert faults(page) == []
    page.locator("#search").fill("")
    page.wait_for_selector(".item")
    page.locator("#grid").focus()
    for key, dialog in (("Enter", "#viewer dd"), ("r", "#picker"), ("?", "#keys")):
        page.keyboard.press(key)
        page.wait_for_selector(dialog)
        assert faults(page) == [], dialog
        page.keyboard.press("Escape")


def test_the_focus_goes_through_the_page_in_its_order(url: str, tabs: Tabs) -> None:
    page = look(tabs, url)
    page.locator(".skip").focus()
    seen = ["skip"]
    for _ in range(40):
        page.keyboard.press("Tab")
        at = page.evaluate("[document.activeElement].map(at => at.id || at.className)[0]")
        if at == seen[0]:
            break
        seen.append(at)
    order = ["skip", "tab-all", "show-keys", "search", "of-class", "undecided", "grid", "reason"]
    places = [seen.index(name) for name in order]
    assert places == sorted(places), seen
    assert sum(name.startswith("tab-") for name in seen) == 1, "one stop for all tabs"
    assert seen.count("grid") == 1, "one stop for all pictures"


def test_ten_thousand_pictures(tabs: Tabs, project: Callable[..., Path]) -> None:
    """Timed by tests/benchmarks/review.py; here only what must hold on any machine."""
    project()
    data = encoded(drawn(1, (64, 48)))
    image = {"bytes": data, "path": "one.jpg"}
    write("dances", [sample(n, f"class {n % 40:02}", image=image) for n in range(10_000)])
    with served(make_page(["dances"], WHO)) as url:
        started = time.monotonic()
        page = tabs.open(f"{url}/#all", **BOX)
        page.wait_for_selector(".item")
        page.wait_for_function("() => document.querySelector('.item img').naturalWidth > 0")
        print(f"10,000 pictures: first row after {time.monotonic() - started:.2f} s")
        assert page.locator(".item").count() < 150, "what is out of sight is not in the page"
        page.keyboard.press("End")
        assert page.locator(".item.current").get_attribute("aria-posinset") == "10000"
        assert page.locator(".item").count() < 150
        page.keyboard.press("PageUp")
        page.keyboard.press("Control+a")
        page.keyboard.press("d")
        wait_for(page, "10,000 pictures decided: 10,000 delete")
        page.locator("#search").fill("class 07/47")
        page.wait_for_function("() => document.querySelectorAll('.item').length < 20")
        page.close()
    with dataset_folder("dances").joinpath("decisions.csv").open(newline="") as file:
        assert sum(1 for _ in csv.reader(file)) == 10_001
