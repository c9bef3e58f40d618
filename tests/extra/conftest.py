"""What tests/extra shares: programs of Debian packages, which a test fails without, and one headless browser."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from tests.extra.debian import PROGRAMS

WIDTH, HEIGHT = 1200, 640
FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers run as root, whom Chromium's sandbox refuses
    "--disable-dev-shm-usage",
    "--use-gl=angle",
    "--use-angle=swiftshader",  # WebGL in software: no graphics card is needed
    "--enable-unsafe-swiftshader",
    "--force-color-profile=srgb",
    f"--window-size={WIDTH},{HEIGHT}",
)


@pytest.fixture(scope="session")
def program() -> Callable[[str], str]:
    """The path of a program by name; the test fails, never skips, where it is not installed."""

    def find(name: str) -> str:
        path = shutil.which(name)
        if path is None:
            pytest.fail(f"{name} is not installed (Debian package {PROGRAMS[name]}): run make test-extra")
        return path

    return find


@pytest.fixture(scope="session")
def browser(program: Callable[[str], str]) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service(program("chromedriver")))
    yield driver
    driver.quit()
