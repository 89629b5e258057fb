"""The page in a real browser, with a microphone that plays a recording."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
from playwright.sync_api import Browser, Page, expect, sync_playwright

from streamasr import Recognizer
from streamasr.serving import ServeSettings

from .conftest import running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
REQUIRED = "STREAMASR_REQUIRE_BROWSER"
"""Set in CI, where these tests must run."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None and REQUIRED not in os.environ,
    reason="wants a Chromium browser on the PATH: apt install chromium",
)


@pytest.fixture(scope="module")
def browser(said, tmp_path_factory) -> Iterator[Browser]:
    assert CHROMIUM is not None, (
        f"{REQUIRED} is set, but there is no chromium: apt install chromium"
    )
    samples, rate = soundfile.read(said, dtype="float32")
    silence = np.zeros(rate, np.float32)
    sound = tmp_path_factory.mktemp("microphone") / "sound.wav"
    soundfile.write(sound, np.concatenate([silence, samples, silence, silence]), rate)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=[
                *(["--no-sandbox"] if os.geteuid() == 0 else []),
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
                f"--use-file-for-fake-audio-capture={sound}%noloop",
            ],
        )
        yield found
        found.close()


@pytest.fixture
def page(browser) -> Iterator[Page]:
    found = browser.new_page(viewport={"width": 375, "height": 740})
    problems: list[str] = []
    found.on("pageerror", lambda error: problems.append(str(error)))
    yield found
    found.close()
    assert problems == []


def saved(page: Page, button: str) -> str:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return Path(download.value.path()).read_text()


def test_what_is_said_stands_there(served, page, said, recognizer):
    text = recognizer.transcribe(said).text
    page.goto(served.http)
    # By keyboard alone.
    page.get_by_role("button", name="Start talking").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#partial")).to_contain_text(text.split()[0], timeout=10_000)
    page.wait_for_function("document.getElementById('level').value > -40")
    expect(page.locator("#finals")).to_have_text(text, timeout=15_000)
    expect(page.locator("#latency")).to_contain_text("ms")
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("status")).to_have_text("Stopped.")
    assert saved(page, "Save as txt") == text + "\n"
    assert "-->" in saved(page, "Save as srt")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 375, "the page is wider than a phone"
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#finals")).to_have_text("")
    served.wait_until_empty()


def test_a_recording_is_sent_and_read(served, page, samples_folder, recognizer, tmp_path):
    path = samples_folder / "dinner.flac"
    page.goto(served.http)
    page.set_input_files("#file", path)
    expect(page.get_by_role("status")).to_have_text("Done.", timeout=15_000)
    lines = page.locator("#finals p:not(.note)").all_inner_texts()
    assert " ".join(lines) == recognizer.transcribe(path).text
    (tmp_path / "notes.txt").write_text("no sound")
    page.set_input_files("#file", tmp_path / "notes.txt")
    expect(page.get_by_role("status")).to_have_class("alarm")
    served.wait_until_empty()


def test_the_page_says_when_the_language_model_is_not_used(tiny_folder, served, page):
    page.goto(served.http)
    expect(page.locator("#degraded")).to_be_hidden()
    recognizer = Recognizer.from_pretrained(tiny_folder)
    recognizer.degraded, recognizer.decoder_reason = True, "the search is not installed"
    with running(recognizer) as server:
        page.goto(server.http)
        shown = page.locator("#degraded")
        expect(shown).to_contain_text("language model cannot be used (the search is not installed)")


def test_a_token_is_asked_for(tiny, page):
    with running(tiny, ServeSettings(tokens=frozenset({"sesame"}))) as server:
        page.goto(server.http)
        page.get_by_text("Access").click()
        page.get_by_label("Token").fill("sesame")
        page.get_by_role("button", name="Start talking").click()
        expect(page.get_by_role("status")).to_have_text("Listening.")
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("status")).to_have_text("Stopped.")
        server.wait_until_empty()
