"""The report and a network's page in a real browser, without network."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from fmnist_sklearn import (
    LeNet5Classifier,
    MiniVGGClassifier,
    export_html,
    load_fashion_mnist_sample,
    run_benchmark,
    run_search,
)
from fmnist_sklearn.photos import load_photo

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER),
        reason="needs chromium and chromedriver: apt-get install chromium "
        "chromium-driver",
    ),
    pytest.mark.filterwarnings("ignore:.*max_epochs"),
]


@pytest.fixture(scope="module")
def driver():
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    # Containers have no sandbox.
    switches = "headless=new no-sandbox disable-dev-shm-usage disable-gpu"
    for switch in [*switches.split(), "window-size=1280,900"]:
        options.add_argument(f"--{switch}")
    logs = {"browser": "ALL", "performance": "ALL"}
    options.set_capability("goog:loggingPrefs", logs)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.set_script_timeout(100)  # seconds, for machines that compute other things
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def benchmark_report(tmp_path_factory, sample):
    X, y = sample
    out = tmp_path_factory.mktemp("benchmark")
    settings = {"models": "lenet5", "batch_size": [32, 64], "progress": False}
    run_benchmark(X[:100], y[:100], **settings, out=out)
    return out / "report.html"


@pytest.fixture
def opened(driver, benchmark_report):
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get(benchmark_report.as_uri())
    return driver


def find(driver, selector):
    return driver.find_elements("css selector", selector)


def column(driver, number):
    cells = find(driver, f"#table tbody tr > :nth-child({number})")
    return [cell.text for cell in cells]


def requests(driver):
    entries = driver.get_log("performance")
    messages = [json.loads(entry["message"])["message"] for entry in entries]
    sent = [m for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [message["params"]["request"]["url"] for message in sent]


def test_report_opens_without_an_error_and_fetches_nothing(opened, benchmark_report):
    assert opened.title == "Benchmark on your own images"
    assert len(column(opened, 1)) == 2
    pictures = find(opened, "details[open] img")
    assert pictures
    for picture in pictures:
        assert int(picture.get_property("naturalWidth")) == 28
    curves = find(opened, ".charts img")
    assert len(curves) == 3
    assert all(int(curve.get_property("naturalWidth")) > 400 for curve in curves)
    fetched = [url for url in requests(opened) if not url.startswith("data:")]
    assert fetched == [benchmark_report.as_uri()]
    assert opened.get_log("browser") == []


def test_report_is_sorted_by_mouse_and_by_keyboard(opened):
    times = column(opened, 4)
    (header,) = find(opened, "#table th:nth-child(4) button")
    header.click()
    assert column(opened, 4) == sorted(times, key=float, reverse=True)
    (cell,) = find(opened, "#table th:nth-child(4)")
    assert cell.get_attribute("aria-sort") == "descending"
    header.send_keys("\ue007")  # Enter
    assert column(opened, 4) == sorted(times, key=float)
    assert cell.get_attribute("aria-sort") == "ascending"
    assert "ascending" in find(opened, "#sorted")[0].get_attribute("textContent")
    assert opened.get_log("browser") == []


def test_report_scrolls_only_tables_sideways_on_a_phone(opened):
    phone = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    opened.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        width = opened.execute_script("return document.documentElement.scrollWidth")
        assert width <= 400
    finally:
        opened.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_report_works_without_scripts(driver, benchmark_report):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        driver.get(benchmark_report.as_uri())
        assert find(driver, "#table thead button") == []
        assert len(find(driver, "#table tbody tr")) == 2
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_report_of_a_search_has_its_heat_map(driver, sample, tmp_path):
    params = {"lr": [0.003, 0.01], "batch_size": [32, "auto"]}
    settings = {"cv": 2, "max_epochs": 1, "out": tmp_path, "progress": False}
    run_search("lenet5", params, *(part[:100] for part in sample), **settings)
    driver.get_log("browser")
    driver.get((tmp_path / "report.html").as_uri())
    assert "report.html" in os.listdir(tmp_path)
    assert len(find(driver, "#table tbody tr")) == 4
    assert len(find(driver, "[aria-labelledby=heat-heading] img")) == 1
    assert driver.get_log("browser") == []


# The page of a network ----------------------------------------------------------------

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


def colour(images):
    """Make (n, 3, 32, 32) of (n, 784)."""
    grey = np.pad(images.reshape(-1, 1, 28, 28), ((0, 0), (0, 0), (2, 2), (2, 2)))
    return np.concatenate([grey, 255 - grey, grey[..., ::-1] // 2], axis=1)


@pytest.mark.parametrize(
    ("kind", "resize", "flip", "n_images"),
    [
        (LeNet5Classifier, np.copy, False, 1000),
        (LeNet5Classifier, colour, True, 100),
        (MiniVGGClassifier, np.copy, False, 50),  # which take 50 times as long
    ],
)
def test_page_predicts_as_python(
    driver, tmp_path, X, y, quick, kind, resize, flip, n_images
):
    net = kind(**quick, predict_flip=flip).fit(resize(X), y)
    export_html(net, tmp_path / "net.html")
    X_test = load_fashion_mnist_sample(subset="test", return_X_y=True)[0][:n_images]
    rows = resize(X_test).reshape(n_images, -1)
    driver.get((tmp_path / "net.html").as_uri())
    results = driver.execute_script("return arguments[0].map(predict)", rows.tolist())
    labels = [result["label"] for result in results]
    assert labels == [str(label) for label in net.predict(rows)]
    probabilities = [result["probabilities"] for result in results]
    expected = net.predict_proba(rows)
    np.testing.assert_allclose(probabilities, expected, rtol=0, atol=1e-3)


@pytest.fixture
def page(driver, tmp_path, lenet5):
    """The page of ``lenet5``, opened; all its classes have hostile names."""
    names = [f"{HOSTILE} {k}" for k in range(10)]
    export_html(lenet5, tmp_path / "net.html", display_labels=names)
    driver.get_log("browser")
    driver.get_log("performance")
    driver.get((tmp_path / "net.html").as_uri())
    return driver


def wait_for(driver, start):
    from selenium.webdriver.support.wait import WebDriverWait

    status = find(driver, "#status")[0]
    WebDriverWait(driver, 30).until(lambda _: status.text.startswith(start))


@pytest.mark.parametrize("preparation", ["clothing", "resize"])
@pytest.mark.parametrize("size", [(140, 120), (28, 28)])
def test_page_prepares_pictures_as_python(
    page, tmp_path, X_test, lenet5, size, preparation
):
    path = tmp_path / "item.png"
    Image.fromarray(255 - X_test[0].reshape(28, 28)).resize(size).save(path)
    if preparation == "resize":
        find(page, "#cut")[0].click()
    find(page, "#file")[0].send_keys(str(path))
    image = load_photo(path, prepare=preparation)
    wait_for(page, f"{HOSTILE} {lenet5.predict(image[None])[0]}, ")
    script = "return [...seen.getContext('2d').getImageData(0, 0, 28, 28).data]"
    seen = np.reshape(page.execute_script(script), (28, 28, 4))[..., 0]
    assert np.abs(seen - image[0].astype(int)).max() <= (preparation == "clothing")


def test_page_predicts_a_drawing_and_shows_names_as_text(page):
    from selenium.webdriver import ActionChains

    phone = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    try:
        wait_for(page, "Nothing drawn yet")
        pen = ActionChains(page).move_to_element(find(page, "#pad")[0]).click_and_hold()
        pen.move_by_offset(60, 10).move_by_offset(-20, 50).release().perform()
        wait_for(page, HOSTILE)
        shown = [name.text.startswith(HOSTILE) for name in find(page, "#classes .name")]
        assert shown == [True] * 5
        assert find(page, "img, #classes script") == []
        width = page.execute_script("return document.documentElement.scrollWidth")
        assert width <= 400
        find(page, "#undo")[0].click()
        wait_for(page, "Nothing drawn yet")
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert all(url.startswith(("data:", "file:")) for url in requests(page))
    assert page.get_log("browser") == []
