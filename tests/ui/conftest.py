"""A headless browser that is logged in to the Airflow of the small world."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, FrameLocator, Page, expect, sync_playwright
from tests.live_world import Live, live_world

from demo.upstream import publish_release

PATIENCE = 60_000  # ms; a page of a busy machine
expect.set_options(timeout=PATIENCE)
HOSTILE_FILE = "demo_text/<img src=x onerror=alert(1)>.py"
HOSTILE_TEXT = "<script>alert(document.domain)</script>"
WIDTH, HEIGHT, MOST_HEIGHT = 1400, 900, 1400  # pixels, of what is shown and of a picture of it
SIZE = {"width": WIDTH, "height": HEIGHT}
# Chromium as root, and without the services that a desktop's asks for.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="where pictures of the pages are to be kept")


@pytest.fixture(scope="package")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live_world(tmp_path_factory.mktemp("world")) as running:
        yield running


@pytest.fixture(scope="session")
def screenshots(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: the directory that was asked for, else a temporary one."""
    directory = pytestconfig.getoption("--screenshots") or tmp_path_factory.mktemp("screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium is installed")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="package")
def session(browser: Browser, live: Live) -> Iterator[dict]:
    """The cookies and storage of a browser that has logged in by hand."""
    context = browser.new_context(base_url=live.url, viewport=SIZE)
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto("/")
    page.locator("input[name=username]").fill("admin")
    page.locator("input[name=password]").fill(live.password)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="Dags")).to_be_visible()
    yield context.storage_state()
    context.close()


@pytest.fixture
def context(browser: Browser, session: dict, live: Live) -> Iterator[BrowserContext]:
    """A browser of its own for a test, logged in; what it may ask for is Airflow alone."""
    context = browser.new_context(base_url=live.url, viewport=SIZE, storage_state=session)
    context.set_default_timeout(PATIENCE)
    asked: set[str] = set()
    context.on("request", lambda request: asked.add(urlsplit(request.url).netloc))
    yield context
    context.close()
    assert asked - {""} <= {urlsplit(live.url).netloc}, "a page asked for something elsewhere"


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A page that fails the test if a script of it fails, or opens a dialog."""
    page = context.new_page()
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("dialog", lambda dialog: (wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    yield page
    assert wrong == []


@pytest.fixture(scope="package")
def synced(live: Live) -> None:
    """A mirror to scan."""
    live.sync()


@pytest.fixture(scope="package")
def scanned(live: Live, synced: None) -> str:
    """The id of a scan of everything; since one of some packages, the author of one wrote for whoever looks at it."""
    live.run("global_scan", packages=["demo-text", "demo-guestbook"], publish=False)
    files = {HOSTILE_FILE: f"def run(expression):\n    return eval(expression)  # {HOSTILE_TEXT}\n"}
    publish_release(live.world.root / "upstream", "demo-text", "7.0", uploaded=datetime.now(UTC), files=files)
    live.sync()
    tasks = live.run("global_scan", shards=2, package_timeout=120)
    return str(live.airflow.xcom("global_scan", tasks[0]["dag_run_id"], "plan")["scan_id"])


def monitor(page: Page, address: str = "") -> FrameLocator:
    """Open a page of the monitor by its own address in Airflow's UI, and return the frame that it is in."""
    page.goto("/plugin/scan-monitor" + (f"/scan-monitor{address}" if address else ""))
    return page.frame_locator("iframe")


@pytest.fixture(params=["light", "dark"])
def theme(request: pytest.FixtureRequest, context) -> str:
    """How Airflow's UI was chosen to look."""
    context.add_init_script(f"localStorage.setItem('theme', '{request.param}')")
    return str(request.param)


def picture(page: Page, screenshots: Path, name: str, theme: str, *, height: int = HEIGHT) -> None:
    """Keep a picture of what the browser shows, a page of the monitor in its whole height."""
    if page.locator("iframe").count():
        bottom = page.frame_locator("iframe").locator("main").evaluate("main => main.getBoundingClientRect().bottom")
        height = max(height, min(round(bottom) + 24, MOST_HEIGHT))
    page.set_viewport_size({"width": WIDTH, "height": height})
    page.screenshot(path=screenshots / f"{name}-{theme}.png", animations="disabled")
    page.set_viewport_size(SIZE)
