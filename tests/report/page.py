"""A report in a browser, as its readers use it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SECONDS = 10


class Page:
    """A report that is open in ``driver``, a selenium driver with browser and performance logs."""

    def __init__(self, driver) -> None:
        self.driver = driver

    def show(self, path: Path, *, width: int = 1600, theme: str = "light") -> None:
        """Open a page anew."""
        self.resize(width)
        self.theme(theme)
        self.driver.get("about:blank")
        self.driver.get(path.as_uri())

    def resize(self, width: int, height: int = 1000) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def theme(self, name: str) -> None:
        """Be "light" or "dark" from now on."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def script(self, text: str, *arguments: Any) -> Any:
        """What ``text`` returns; in it, ``$$(selector, root)`` is a list of elements."""
        find = "const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];\n"
        return self.driver.execute_script(find + text, *arguments)

    def elements(self, selector: str, root: Any = None) -> list:
        return (root or self.driver).find_elements("css selector", selector)

    def element(self, selector: str, root: Any = None) -> Any:
        return (root or self.driver).find_element("css selector", selector)

    def wait(self, condition: Callable[[], Any]) -> Any:
        """The first true value of ``condition``."""
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, SECONDS, poll_frequency=0.02).until(lambda _: condition())

    def case(self, name: str) -> Any:
        """The section of the first case of this name."""
        (found, *_) = [entry for entry in self.elements("details.case") if self.element("h3", entry).text == name]
        return found

    def open(self, name: str) -> Any:
        """A case's section, opened with a click and drawn with all its pictures and plots."""
        case = self.case(name)
        self.element("summary", case).click()
        self.wait(lambda: self.drawn(case))
        return case

    def open_every_case(self) -> None:
        self.script("$$('details.case').forEach((entry) => { entry.open = true; })")
        for case in self.elements("details.case"):
            self.wait(lambda case=case: self.drawn(case))

    def drawn(self, case: Any) -> bool:
        return self.script(
            """const [entry] = arguments;
            return entry.querySelector('.case-body').hasChildNodes()
              && $$('details.layer[open] .mask-host', entry).every((host) => host.querySelector('.hair[style]'))
              && $$('.plot', entry).every((plot) => plot.querySelector('.main-svg .xtick'));""",
            case,
        )

    def forget(self) -> None:
        """Drop what the browser has logged until now."""
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)

    def errors(self) -> list[str]:
        """What the console has logged as an error since it was last asked."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def requests(self) -> list[str]:
        """The addresses that were asked for since this was last asked."""
        messages = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
