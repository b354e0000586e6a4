"""The page of `kalai serve` in a real browser: pad, images, keys and small windows."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from tests.browsing import PHONE, Tabs, faults
from tests.worlds import draw_shape

if TYPE_CHECKING:
    from playwright.sync_api import Page, Request, Route

pytestmark = pytest.mark.slow
expect = pytest.importorskip("playwright.sync_api", reason="pip install playwright").expect

GIVE = """([kind, data, name, type, padding]) => {
    const transfer = new DataTransfer();
    if (name) {
        const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
        transfer.items.add(new File([bytes, new Uint8Array(padding)], name, { type }));
    }
    const common = { bubbles: true, cancelable: true };
    if (kind === "paste") {
        const event = new ClipboardEvent(kind, { clipboardData: transfer, ...common });
        return document.body.dispatchEvent(event);
    }
    for (const step of ["dragenter", "dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(step, { dataTransfer: transfer, ...common }));
}"""
INKED = """() => {
    const pad = document.getElementById("pad");
    const copy = new OffscreenCanvas(pad.width, pad.height);
    const reader = copy.getContext("2d", { willReadFrequently: true });
    reader.drawImage(pad, 0, 0);
    const { data } = reader.getImageData(0, 0, pad.width, pad.height);
    return data.filter((value, place) => place % 4 === 3 && value).length;
}"""
ACROSS, DOWN = ((0.2, 0.5), (0.8, 0.5)), ((0.5, 0.2), (0.5, 0.8))

Place = tuple[float, float]  # fractions of the pad's sides


def at(shown: Page, place: Place) -> tuple[float, float]:
    """Return the position of a place of the pad in the window."""
    box = shown.locator("#pad").bounding_box()
    assert box
    return box["x"] + place[0] * box["width"], box["y"] + place[1] * box["height"]


def line(shown: Page, stroke: tuple[Place, Place]) -> None:
    """Draw a line with the mouse."""
    shown.mouse.move(*at(shown, stroke[0]))
    shown.mouse.down()
    shown.mouse.move(*at(shown, stroke[1]), steps=5)
    shown.mouse.up()


def strokes_of(request: Request) -> list[list[list[float]]]:
    """Return the strokes of a request."""
    body = request.post_data_json
    assert body
    return list(body["strokes"])


def strokes_after(shown: Page, act: Callable[[], Any]) -> list[list[list[float]]]:
    """Act, wait for the prediction, and return the strokes that the page sent for it."""
    with shown.expect_response("**/strokes") as response:
        act()
    expect(shown.locator("#answer")).to_be_visible()
    return strokes_of(response.value.request)


def give(
    shown: Page, kind: str, data: bytes = b"", name: str = "", type_: str = "", padding: int = 0
) -> None:
    """Drop or paste a file; without a name, something that is no file."""
    shown.evaluate(GIVE, [kind, base64.b64encode(data).decode(), name, type_, padding])


def guesses(shown: Page) -> list[str]:
    """Return the predicted classes."""
    return shown.locator("#guesses .name").all_text_contents()


def loaded(shown: Page, images: str) -> int:
    """Return the number of images; all of them must be loaded."""
    found = shown.locator(images)
    for image in found.all():
        expect(image).to_have_js_property("complete", True)
        assert image.evaluate("image => image.naturalWidth") > 0
    return found.count()


def clear_one_refusal(tabs: Tabs) -> None:
    """Check that the only error is one refused request, and clear it."""
    assert len(tabs.errors) == 1 and "422" in tabs.errors[0], tabs.errors
    tabs.errors.clear()


# the pad


def test_there_is_a_prediction_after_every_stroke(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters")
    expect(shown.locator("#answer")).to_be_hidden()
    assert loaded(shown, "#intro img") == 3
    [stroke] = strokes_after(shown, lambda: line(shown, ACROSS))
    assert stroke[0] == pytest.approx([200, 500], abs=2)
    assert stroke[-1] == pytest.approx([800, 500], abs=2)
    names = guesses(shown)
    assert set(names) == {"க", "ங", "ச"}
    expect(shown.locator("#letter")).to_have_text(names[0])
    expect(shown.locator("#romanised")).to_have_text({"க": "ka", "ங": "ṅa", "ச": "ca"}[names[0]])
    shares = [float(text.strip("%")) for text in shown.locator(".probability").all_text_contents()]
    assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(100, abs=2)
    assert loaded(shown, "#input") == 1 and loaded(shown, "#sample-images img") == 6
    assert shown.locator("#input").evaluate("image => image.naturalWidth") == 32
    expect(shown.locator("#announcement")).to_contain_text(f"{names[0]} ")
    assert len(strokes_after(shown, lambda: line(shown, DOWN))) == 2


def test_strokes_are_undone_and_cleared_by_button_and_by_key(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters")
    undo, clear = shown.locator("#undo"), shown.locator("#clear")
    expect(undo).to_be_disabled()
    strokes_after(shown, lambda: line(shown, ACROSS))
    one = shown.evaluate(INKED)
    strokes_after(shown, lambda: line(shown, DOWN))
    two = shown.evaluate(INKED)
    assert 0 < one < two
    assert len(strokes_after(shown, undo.click)) == 1
    assert shown.evaluate(INKED) == one
    strokes_after(shown, lambda: line(shown, DOWN))
    assert len(strokes_after(shown, lambda: shown.keyboard.press("Control+z"))) == 1
    acts: list[Callable[[], Any]] = [
        lambda: shown.keyboard.press("Escape"),
        clear.click,
        undo.click,
    ]
    for act in acts:
        act()
        expect(shown.locator("#answer")).to_be_hidden()
        expect(clear).to_be_disabled()
        expect(shown.locator("#pad-hint")).to_be_visible()
        assert shown.evaluate(INKED) == 0
        strokes_after(shown, lambda: line(shown, ACROSS))


def test_only_the_left_mouse_button_draws(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters")
    shown.mouse.move(*at(shown, (0.5, 0.5)))
    shown.mouse.down(button="right")
    shown.mouse.move(*at(shown, (0.7, 0.5)))
    shown.mouse.up(button="right")
    expect(shown.locator("#clear")).to_be_disabled()


def touch(shown: Page) -> Callable[..., None]:
    """Return a function that sends a touch: its kind, and where fingers are."""
    session = shown.context.new_cdp_session(shown)

    def send(kind: str, *places: Place) -> None:
        points = [
            {"x": x, "y": y, "id": number}
            for number, (x, y) in enumerate(at(shown, place) for place in places)
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    return send


def test_a_finger_draws_and_does_not_scroll(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters", **PHONE)
    send = touch(shown)

    def draw() -> None:
        send("touchStart", (0.5, 0.9))
        for step in range(8, 0, -1):
            send("touchMove", (0.5, step / 10))
        send("touchEnd")

    [stroke] = strokes_after(shown, draw)
    assert len(stroke) > 4 and shown.evaluate("scrollY") == 0
    [_, dot] = strokes_after(shown, lambda: shown.touchscreen.tap(*at(shown, (0.2, 0.2))))
    assert len(dot) == 1


def test_one_finger_draws_at_a_time_and_a_pen_replaces_the_palm(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters", **PHONE)
    send = touch(shown)
    pen = shown.context.new_cdp_session(shown)

    def fingers() -> None:
        send("touchStart", (0.2, 0.2))
        send("touchStart", (0.2, 0.2), (0.8, 0.8))
        send("touchMove", (0.3, 0.3), (0.7, 0.7))
        send("touchEnd")

    [stroke] = strokes_after(shown, fingers)
    assert all(x < 400 and y < 400 for x, y in stroke)

    def palm_and_pen() -> None:
        send("touchStart", (0.9, 0.9))
        for kind, place in (("Pressed", 0.2), ("Moved", 0.3), ("Released", 0.3)):
            x, y = at(shown, (place, 0.5))
            event = {"type": f"mouse{kind}", "x": x, "y": y, "pointerType": "pen"}
            button = {"button": "left", "buttons": int(kind != "Released"), "clickCount": 1}
            pen.send("Input.dispatchMouseEvent", event | button)
        send("touchEnd")

    [_, written] = strokes_after(shown, palm_and_pen)
    assert written[0] == pytest.approx([200, 500], abs=5)
    assert written[-1] == pytest.approx([300, 500], abs=5)


def test_an_answer_that_comes_too_late_is_ignored(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters")
    held: list[Route] = []
    shown.route("**/strokes", lambda route: held.append(route))  # noqa: PLW0108  (no built-in)
    with shown.expect_request("**/strokes"):
        line(shown, ACROSS)
    shown.locator("#clear").click()
    held[0].continue_()
    shown.unroute("**/strokes")
    shown.wait_for_timeout(300)
    expect(shown.locator("#answer")).to_be_hidden()


def test_a_server_that_does_not_answer_is_reported(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters")
    shown.route("**/strokes", lambda route: route.abort())
    line(shown, ACROSS)
    expect(shown.locator("#problem")).to_contain_text("Is kalai serve still running?")
    shown.unroute("**/strokes")
    tabs.errors.clear()
    strokes_after(shown, lambda: line(shown, DOWN))
    expect(shown.locator("#problem")).to_be_empty()


# images


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_an_image_is_dropped_or_pasted(tabs: Tabs, serve_url: str, kind: str) -> None:
    shown = tabs.open(f"{serve_url}/try/photos")
    give(shown, kind, draw_shape("ring", 1), "ring.png", "image/png")
    expect(shown.locator("#answer")).to_be_visible()
    assert loaded(shown, "#preview") == 1 and loaded(shown, "#input") == 1
    assert sorted(guesses(shown)) == ["<b>Ring</b> & more", "Disc"]
    assert shown.locator("#answer b, #samples b").count() == 0


def test_an_image_replaces_strokes_and_strokes_replace_an_image(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters")
    strokes_after(shown, lambda: line(shown, ACROSS))
    with shown.expect_response("**/picture"):
        give(shown, "drop", draw_shape("cross", 1), "cross.png", "image/png")
    expect(shown.locator("#answer")).to_be_visible()
    expect(shown.locator("#preview")).to_be_visible()
    assert shown.evaluate(INKED) == 0
    assert len(strokes_after(shown, lambda: line(shown, ACROSS))) == 1
    expect(shown.locator("#preview")).to_be_hidden()


def test_a_file_that_is_no_image_is_refused_with_the_reason(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/photos")
    problem = shown.locator("#problem")
    give(shown, "drop", draw_shape("ring", 1), "ring.png", "image/png")
    expect(shown.locator("#answer")).to_be_visible()
    give(shown, "drop", b"<html>", "page.jpg", "image/jpeg")
    expect(problem).to_contain_text("not-an-image")
    expect(shown.locator("#answer")).to_be_hidden()
    expect(shown.locator("#preview")).to_be_hidden()
    clear_one_refusal(tabs)
    give(shown, "drop")
    expect(problem).to_have_text("This is not a file. Drop an image file.")
    give(shown, "drop", b"x", "large.jpg", "image/jpeg", 20_000_000)
    expect(problem).to_have_text("large.jpg is too large; at most 20 MB are allowed.")
    give(shown, "drop", draw_shape("ring", 1), "ring.png", "image/png")
    expect(problem).to_be_empty()
    expect(shown.locator("#answer")).to_be_visible()


def test_a_format_that_the_browser_cannot_show_is_predicted(tabs: Tabs, serve_url: str) -> None:
    shown = tabs.open(f"{serve_url}/try/letters")
    buffer = io.BytesIO()
    Image.open(io.BytesIO(draw_shape("cross", 1))).convert("L").save(buffer, "TIFF")
    give(shown, "drop", buffer.getvalue(), "letter.tiff", "image/tiff")
    expect(shown.locator("#answer")).to_be_visible()
    expect(shown.locator("#preview")).to_be_hidden()


# keys, small windows and accessibility


def test_the_keyboard_is_enough(tabs: Tabs, serve_url: str, tmp_path: Path) -> None:
    (tmp_path / "ring.png").write_bytes(draw_shape("ring", 1))
    shown = tabs.open(f"{serve_url}/try/photos")
    # set before the key is pressed, so that the browser does not open its own dialog
    shown.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "ring.png"))

    def focused(press: str, wanted: str) -> None:
        """Press a key until an element has the focus; the focus must be visible."""
        for _ in range(30):
            shown.keyboard.press(press)
            if shown.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
                assert (
                    shown.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                    != "none"
                )
                return
        raise AssertionError(f"{press} never reaches {wanted}")

    focused("Tab", "a.skip")
    focused("Tab", 'nav a[href="/try/letters"]')
    focused("Tab", "#choose")
    shown.keyboard.press("Enter")
    expect(shown.locator("#answer")).to_be_visible()
    shown.keyboard.press("Shift+Tab")
    focused("Shift+Tab", "#guesses li:last-child button")
    shown.keyboard.press("Space")
    expect(shown.locator("#guesses li:last-child button")).to_have_attribute("aria-pressed", "true")
    expect(shown.locator("#sample-class")).to_have_text(guesses(shown)[1])
    focused("Tab", ".classes summary")
    shown.keyboard.press("Enter")
    focused("Tab", '.classes button[data-label="disc"]')
    shown.keyboard.press("Enter")
    expect(shown.locator("#sample-class")).to_have_text("Disc")
    assert loaded(shown, "#sample-images img") == 6


def test_a_phone_shows_pad_and_prediction_and_keeps_strokes_when_turned(
    tabs: Tabs, serve_url: str
) -> None:
    shown = tabs.open(f"{serve_url}/try/letters", **PHONE)
    strokes_after(shown, lambda: line(shown, ACROSS))
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not shown.evaluate(wide)
    box = shown.locator("#letter").bounding_box()
    assert box and box["y"] + box["height"] < 667
    before = shown.locator("#pad").evaluate("pad => pad.width")
    shown.set_viewport_size({"width": 667, "height": 375})
    expect(shown.locator("#pad")).not_to_have_js_property("width", before)
    assert shown.evaluate(INKED) > 0 and not shown.evaluate(wide)
    assert len(strokes_after(shown, lambda: line(shown, DOWN))) == 2
    photos = tabs.open(f"{serve_url}/try/photos", **PHONE)
    give(photos, "drop", draw_shape("ring", 1), "ring.png", "image/png")
    expect(photos.locator("#answer")).to_be_visible()
    assert not photos.evaluate(wide)


def test_axe_finds_no_fault_in_either_colour_scheme(tabs: Tabs, serve_url: str) -> None:
    def check(shown: Page) -> None:
        """Check all rules in the light scheme; the dark one differs in its colours only."""
        assert faults(shown) == []
        shown.emulate_media(color_scheme="dark", reduced_motion="reduce")
        assert faults(shown, "color-contrast") == []
        shown.emulate_media(color_scheme="light", reduced_motion="reduce")

    letters = tabs.open(f"{serve_url}/try/letters", reduced_motion="reduce")
    check(letters)
    strokes_after(letters, lambda: line(letters, ACROSS))
    letters.locator(".classes summary").click()
    check(letters)
    photos = tabs.open(f"{serve_url}/try/photos", reduced_motion="reduce")
    give(photos, "drop", draw_shape("ring", 1), "ring.png", "image/png")
    expect(photos.locator("#answer")).to_be_visible()
    check(photos)
