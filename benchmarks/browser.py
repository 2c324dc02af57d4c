"""A headless Chromium without a network, for the page of a tape."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def chromium() -> Iterator[Any]:
    """The browser, driven by selenium.

    Raises:
        FileNotFoundError: Chromium or its driver is missing.
        ModuleNotFoundError: selenium is missing.
    """
    binary, driver_path = (shutil.which(name) for name in ("chromium", "chromedriver"))
    if binary is None or driver_path is None:
        raise FileNotFoundError("there is no chromium with chromedriver: .ci/run installs them")
    from selenium import webdriver

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = binary
        for argument in (
            *("headless", "no-sandbox", "disable-gpu", "no-first-run"),
            *("disable-background-networking", f"user-data-dir={profile}"),
        ):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        driver = webdriver.Chrome(options, webdriver.ChromeService(driver_path))
        try:
            driver.execute_cdp_cmd("Network.enable", {})
            offline = {
                "offline": True,
                "latency": 0,
                "downloadThroughput": 0,
                "uploadThroughput": 0,
            }
            driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
            yield driver
        finally:
            driver.quit()


def window(driver: Any, width: int, height: int, scheme: str = "light", scale: float = 1) -> None:
    """Gives the browser the size of a window or a phone, and the user's choice of colours."""
    feature = {"name": "prefers-color-scheme", "value": scheme}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
