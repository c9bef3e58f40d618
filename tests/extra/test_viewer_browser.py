"""The viewer's page in a real browser: what is drawn is the cloud, and sliders and mouse move it."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from viser import CameraHandle, ViserServer

from avatarbench.gaussians.cloud import Cloud
from avatarbench.gaussians.head import GaussianHead
from avatarbench.heads.anny import load_anny
from avatarbench.viewer.avatar import AvatarView
from avatarbench.viewer.page import Page
from avatarbench.viewer.server import start_server, stop_server

PATIENCE = 60.0
"""Seconds: a browser that draws in software on a busy machine takes its time."""


@pytest.fixture(scope="module")
def head() -> GaussianHead:
    """Anny's head in stripes, a disc on every sixth face."""
    rig = load_anny()
    shape = torch.zeros(len(rig.shape_names))
    bindings = torch.arange(0, len(rig.faces), 6)
    means = rig.rest(shape[None], torch.zeros(1, 0))[0][0][rig.faces[bindings]].mean(1)
    count = len(means)
    colours = 0.5 + 0.35 * torch.sin(means * 60)
    quaternions = torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1)
    return GaussianHead(
        Cloud(means, quaternions, torch.full((count, 3), 0.003), torch.full((count,), 0.9), colours, bindings),
        rig, shape,
    )  # fmt: skip


@pytest.fixture(scope="module")
def server() -> Iterator[ViserServer]:
    server = start_server("127.0.0.1", 0, "test")
    yield server
    stop_server(server)


class Tab:
    """The opened page, and where its camera stands."""

    def __init__(self, browser: webdriver.Chrome, server: ViserServer, view: AvatarView) -> None:
        self.browser, self.view = browser, view
        browser.get(f"http://127.0.0.1:{server.get_port()}/")
        until(lambda: server.get_clients() and browser.find_elements(By.CSS_SELECTOR, "[role=slider]"))
        self.camera: CameraHandle = list(server.get_clients().values())[-1].camera
        self.edge = int(self.slider("head yaw").location["x"]) - 200  # of the panel, label and half a slider away
        for close in browser.find_elements(By.CSS_SELECTOR, ".mantine-Notification-closeButton"):
            close.click()  # viser's remark that WebGL runs in software
        self.settled()

    def picture(self) -> NDArray[np.int16]:
        """The window left of the panel, (H, W', 3)."""
        shot = np.asarray(Image.open(io.BytesIO(self.browser.get_screenshot_as_png())).convert("RGB"), np.int16)
        return shot[:, : self.edge]

    def ours(self) -> NDArray[np.int16]:
        """The same part of what our renderer draws for the page's camera."""
        # The camera tells the drawing buffer's size, which viser lowers where frames are slow; the page stretches it.
        canvas = self.browser.find_element(By.TAG_NAME, "canvas").size
        size = (round(canvas["width"]), round(canvas["height"]))
        whole = Image.fromarray(self.view.picture(self.camera)).resize(size, Image.Resampling.BICUBIC)
        return np.asarray(whole, np.int16)[:, : self.edge]

    def settled(self) -> NDArray[np.int16]:
        """The picture, once two in a row are equal."""
        pictures = [self.picture()]

        def still() -> bool:
            time.sleep(0.4)
            pictures.append(self.picture())
            return bool((pictures[-1] == pictures[-2]).all())

        until(still)
        return pictures[-1]

    def slider(self, label: str) -> WebElement:
        return self.browser.find_elements(By.CSS_SELECTOR, "[role=slider]")[list(self.view.sliders).index(label)]


@pytest.fixture(scope="module")
def tab(browser: webdriver.Chrome, server: ViserServer, head: GaussianHead) -> Iterator[Tab]:
    page = Page(server, head)
    assert isinstance(page.view, AvatarView)
    yield Tab(browser, server, page.view)
    page.close()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"nothing happened for {PATIENCE:.0f} s"
        time.sleep(0.1)


def drawn(picture: NDArray[np.int16]) -> NDArray[np.bool_]:
    return (picture < 235).any(2)


def agrees(found: NDArray[np.int16], expected: NDArray[np.int16]) -> None:
    """The page's splats are not our renderer: 8-bit colours, half-precision shapes, another cut-off. They show the same
    head in the same place."""
    assert found.shape == expected.shape
    one, two = drawn(found), drawn(expected)
    assert 0.05 < one.mean() < 0.6
    assert (one & two).sum() / (one | two).sum() > 0.95
    assert np.abs(found - expected)[one & two].mean() < 6


def test_the_head_is_drawn_as_our_renderer_draws_it(tab: Tab) -> None:
    agrees(tab.settled(), tab.ours())


def test_a_key_on_a_slider_reaches_the_server_and_turns_the_head(tab: Tab) -> None:
    before = tab.settled()
    thumb = tab.slider("head yaw")
    thumb.send_keys(Keys.ARROW_RIGHT * 4)
    until(lambda: tab.view.sliders["head yaw"].value == 2.0)
    thumb.send_keys(Keys.END)
    until(lambda: tab.view.sliders["head yaw"].value == 60.0)
    until(lambda: (np.abs(tab.picture() - before) > 30).any(2).mean() > 0.05)
    agrees(tab.settled(), tab.ours())
    next(b for b in tab.browser.find_elements(By.TAG_NAME, "button") if b.text == "reset").click()
    until(lambda: not any(slider.value for slider in tab.view.sliders.values()))
    until(lambda: (np.abs(tab.settled() - before) > 30).any(2).mean() < 1e-3)


def test_dragging_the_mouse_turns_the_camera_about_the_head(tab: Tab) -> None:
    before, was = tab.settled(), tab.camera.position.copy()
    target = tab.camera.look_at.copy()
    canvas = tab.browser.find_element(By.TAG_NAME, "canvas")
    drag = ActionChains(tab.browser).move_to_element_with_offset(canvas, -200, 0).click_and_hold()
    for _ in range(4):
        drag.move_by_offset(20, 3)
    drag.release().perform()
    until(lambda: np.linalg.norm(tab.camera.position - was) > 5)
    after = tab.settled()
    assert np.allclose(tab.camera.look_at, target, atol=1e-3)
    assert np.isclose(np.linalg.norm(tab.camera.position - target), np.linalg.norm(was - target), rtol=1e-3)
    assert (np.abs(after - before) > 30).any(2).mean() > 0.05
    agrees(after, tab.ours())


def test_the_exact_picture_is_our_renderers_and_goes_away_again(tab: Tab) -> None:
    splats = tab.settled()
    boxes = tab.browser.find_elements(By.CSS_SELECTOR, "input[type=checkbox]")
    box = next(b for b in boxes if b.is_displayed())  # those of viser's own settings are not
    box.click()
    until(lambda: not tab.view.splats.visible)
    until(lambda: np.abs(tab.picture() - tab.ours()).mean() < 2)
    box.click()
    until(lambda: tab.view.splats.visible)
    until(lambda: np.abs(tab.settled() - splats).mean() < 0.5)
