"""The pages: in a real browser, and the figures behind the two pictures that they draw themselves."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from fedqs_ray import Experiment, Result, load
from fedqs_ray.experiments.comparison import find_interval, write_comparison
from fedqs_ray.report.comparison_page import lorenz
from fedqs_ray.report.figures_fairness import by_client, scale_counts
from fedqs_ray.report.figures_run import AXES, draw_durations, retries
from fedqs_ray.report.run_page import FILLS, SECTIONS
from fedqs_ray.report.svg import inline, style
from fedqs_ray.report.timeline import list_figures
from fedqs_ray.report.write import write_report
from fedqs_ray.runs.layout import PICTURE_NAMES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.xdist_group("report")
Make = Callable[[Experiment], Result]
SMALL = ["clients.count=12", "server.buffer_size=4", "scenario.ratio=7"]
TROUBLED = ["run.rounds=30", "scenario.name=dropout", "scenario.loss_rate=0.1", "scenario.faults.nan_rate=0.05"]


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory, folder_of: Make) -> Result:
    """A run of which everything can be drawn."""
    out = tmp_path_factory.mktemp("report") / "run"
    return folder_of(load(None, [*SMALL, *TROUBLED, "run.theory=true"], out=str(out)))


@pytest.fixture(scope="module")
def pages(result: Result, tmp_path_factory: pytest.TempPathFactory, folder_of: Make) -> dict[str, Path]:
    """The report of a run, and of a comparison."""
    grid, runs = tmp_path_factory.mktemp("grid"), []
    for algorithm in ("fedsgd", "fedqs-sgd"):
        for seed in (0, 1):
            settings = [*SMALL, "run.rounds=12", f"algorithm.name={algorithm}", f"seed={seed}"]
            made = folder_of(load(None, settings, out=str(grid / f"{algorithm}-{seed}")))
            runs.append(("static", algorithm, seed, made))
    return {"run": write_report(result), "comparison": write_report(write_comparison(grid, runs, None))}


# In a browser


def opened(browser: "Browser", path: Path, **context: Any) -> tuple["Page", list[str]]:
    """A page, and what it says on the console and asks for, beyond itself, from now on."""
    seen: list[str] = []
    page = browser.new_context(**context).new_page()
    page.set_default_timeout(60_000)
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("request", lambda request: seen.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    return page, seen


LAYOUT = """() => {
  const wide = [...document.querySelectorAll("body *")].filter((e) => !e.closest(".wide, details"))
    .filter((e) => e.getBoundingClientRect().right > innerWidth + 1).map((e) => e.tagName);
  const words = [...document.querySelectorAll("svg text")].filter((e) => e.getClientRects().length);
  const cut = words.filter((e) => {
    const own = e.getBoundingClientRect(), all = e.closest("svg").getBoundingClientRect();
    return own.left < all.left - 4 || own.right > all.right + 4 || own.bottom > all.bottom + 4;
  }).map((e) => e.textContent);
  const size = (e) => parseFloat(getComputedStyle(e).fontSize) * e.getScreenCTM().a;
  const small = words.filter((e) => !e.hasAttribute("transform") && size(e) < 10).map((e) => e.textContent);
  const mute = [...document.querySelectorAll("svg, canvas, img")]
    .filter((e) => e.getAttribute("role") !== "img" || !(e.getAttribute("aria-label") ?? "").trim()).length;
  const paper = getComputedStyle(document.body);
  return { scroll: document.documentElement.scrollWidth - innerWidth, wide, cut, small, mute,
    ink: paper.color, paper: paper.backgroundColor };
}"""


def brightness(colour: str) -> int:
    """Of 'rgb(r, g, b)'."""
    return sum(map(int, colour[4:-1].split(",")))


@pytest.mark.parametrize("name", ["run", "comparison"])
def test_a_page_is_quiet_and_fits(browser: "Browser", pages: dict[str, Path], name: str) -> None:
    """On a desk and on a phone, light and dark: nothing is asked for, cut off, too wide or without words."""
    for scheme, width in (("light", 1100), ("dark", 390)):
        page, seen = opened(browser, pages[name], color_scheme=scheme, viewport={"width": width, "height": 800})
        found = page.evaluate(LAYOUT)
        ink, paper = brightness(found.pop("ink")), brightness(found.pop("paper"))
        assert found == {"scroll": 0, "wide": [], "cut": [], "small": [], "mute": 0}
        assert paper - ink > 400 if scheme == "light" else ink - paper > 400
        assert page.locator("h1").count() == 1
        assert page.locator("figure svg").count() > 8
        assert not seen
        page.context.close()


def test_the_switch(browser: "Browser", pages: dict[str, Path]) -> None:
    for path in pages.values():
        page, seen = opened(browser, path)
        for name in ("virtual time", "updates", "rounds"):
            page.locator(".switch").get_by_text(name, exact=True).click()
            shown = page.locator(".switch > .panels:visible svg")
            assert [name in (svg.get_attribute("aria-label") or "") for svg in shown.all()] == [True, True]
        assert not seen
        page.context.close()


def test_the_window_of_rounds(browser: "Browser", pages: dict[str, Path], result: Result) -> None:
    """Buttons and slider move both pictures; pointing at a bar tells its job."""
    page, seen = opened(browser, pages["run"], viewport={"width": 1100, "height": 800})
    window, pictures = page.locator("#window"), ("timeline", "plane")

    def drawn() -> list[str]:
        return [page.evaluate(f"document.getElementById('{name}').toDataURL()") for name in pictures]

    assert (window.text_content() or "").startswith("Rounds 5 to 25, "), "the middle"
    twenty = drawn()
    page.get_by_role("button", name="5", exact=True).click()
    five = drawn()
    assert (window.text_content() or "").startswith("Rounds 5 to 10, ")
    assert all(a != b for a, b in zip(twenty, five, strict=True))
    page.locator("#from").press("ArrowRight")
    times = result.rounds["time"].to_pylist()
    text = window.text_content() or ""
    assert text.startswith(f"Rounds 6 to 11, {times[6]:.1f} s to {times[11]:.1f} s: 20 updates aggregated, ")
    assert all(a != b for a, b in zip(five, drawn(), strict=True))
    assert text in (page.locator("#timeline").get_attribute("aria-label") or "")
    assert "after round 11:" in (page.locator("#plane").get_attribute("aria-label") or "")
    page.get_by_role("button", name="all", exact=True).click()
    assert page.locator("#from").is_disabled()
    for width in (20, 1100):  # however narrow it is for a moment
        page.set_viewport_size({"width": width, "height": 800})
    jobs = result.arrivals
    lost, rejected = (jobs["outcome"].to_pylist().count(name) for name in ("lost", "rejected"))
    assert f"120 updates aggregated, {lost} lost, {rejected} rejected." in (window.text_content() or "")
    page.locator("#timeline").hover(position={"x": 60, "y": 26})
    fastest = np.bincount(jobs["client"].filter(jobs["round"].is_valid()).to_numpy()).argmax()
    assert (page.locator("#job").text_content() or "").startswith(f"Client {fastest}, from 0.0 s to ")
    before = drawn()
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("before => document.getElementById('plane').toDataURL() !== before", arg=before[1])
    assert not seen
    page.context.close()


def test_no_other_script_runs(browser: "Browser", pages: dict[str, Path], tmp_path: Path) -> None:
    for name, path in pages.items():
        evil = tmp_path / f"{name}.html"
        text = path.read_text(encoding="utf-8")
        evil.write_text(text.replace("<h1>", "<script>document.title='hit'</script><img src=x onerror=hit()><h1>"))
        page, seen = opened(browser, evil)
        assert page.title() != "hit"
        assert sum("Content Security Policy" in message for message in seen) >= 2
        page.context.close()


# The figures


def test_the_means_divide_the_types(result: Result) -> None:
    """What the plane shows is what the clients were told: their types follow from it, job by job."""
    plane = list_figures(result)["plane"]
    table = result.arrivals.to_pylist()
    count, counted = result.experiment.clients.count, 0
    for job in table:
        if job["client_type"] is None or job["round"] is None:
            continue
        before = [other for other in table if other["round"] is not None and other["round"] <= job["version"]]
        speed = sum(other["client"] == job["client"] for other in before) * count / len(before)
        assert plane["total"][job["version"]] == len(before)
        means = plane["means"][job["version"]]
        for value, mean, letters in ((speed, means[0], "FS"), (job["angle"], means[1], "SW")):
            if abs(value - mean) > 1e-3:
                place = 0 if letters == "FS" else 1
                assert job["client_type"][place] == letters[value <= mean], job
                counted += 1
    assert counted > 50


def test_picture_names_are_those_of_the_figures() -> None:
    """What `--overwrite` and a mirror take for a run's own."""
    drawn = {*FILLS, *(f"{kind}_{column}" for kind in ("accuracy", "loss") for column in AXES)}
    assert sorted(PICTURE_NAMES) == sorted(drawn)
    assert sorted(FILLS) == sorted(name for *_, names in SECTIONS for name in names)


def test_who_is_served_how_well(result: Result) -> None:
    """Weighted by samples, the labels' accuracies are the last model's."""
    rows = result.labels.to_pylist()
    right = sum(row["samples"] * row["accuracy"] for row in rows)
    assert right / sum(row["samples"] for row in rows) == pytest.approx(result.summary.final_accuracy)
    clients = result.clients.to_pylist()
    assert [row["accuracy"] is None for row in clients] == [row["validation_samples"] == 0 for row in clients]
    assert all((row["accuracy"] or 0) * row["validation_samples"] % 1 == pytest.approx(0) for row in clients)
    assert by_client(result).size


NAMES = [
    "</script><b>",
    "\u6771\u4eac \u75c5\u9662",
    "$x$ & co",
    "a name that is much longer than a picture has room for",
]


def test_names_of_the_users_own_data(
    browser: "Browser", folder_of: Make, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Whatever stands in them."""
    rows = 240
    who = [*NAMES, *(NAMES[row % 4] for row in range(4, rows))]
    columns: dict[str, Any] = {"x": [row % 7 for row in range(rows)], "who": who}
    columns["sick"] = ["ja" if row % 3 else "ne\x07in" for row in range(rows)]
    pq.write_table(pa.table(columns), tmp_path / "clinics.parquet")
    settings = ["task.name=parquet", f'task.train="{tmp_path / "clinics.parquet"}"', "task.label=sick"]
    settings += ["task.client=who", "task.partition.name=natural", "clients.count=4", "server.buffer_size=2"]
    made = folder_of(load(None, [*settings, "run.rounds=4"], out=str(tmp_path / "run")))
    assert sorted(made.clients["name"].to_pylist()) == sorted(NAMES)
    assert made.labels["name"].to_pylist() == ["ja", "ne in"]
    page, seen = opened(browser, write_report(made), viewport={"width": 1100, "height": 800})
    assert page.title() == "fedqs-sgd on clinics"
    assert page.evaluate(LAYOUT)["cut"] == []
    shown = " ".join(page.locator("svg text").all_text_contents())
    assert "ne in" in shown
    assert any(name in shown for name in NAMES[:3])
    page.locator("#timeline").hover(position={"x": 60, "y": 30})
    said = page.locator("#job").text_content() or ""
    assert any(f"({name}), from 0.0 s" in said for name in NAMES), said
    assert not seen
    assert not recwarn.list
    page.context.close()


def test_counts_of_updates_stand_on_a_scale_with_a_few_numbers() -> None:
    for low, high in ((0, 0), (7, 7), (12, 18), (60, 90), (1, 200), (0, 20_000), (3, 10**6)):
        figure = Figure(figsize=(4.4, 2.8))
        axes = figure.add_subplot()
        axes.plot([low, high], [0, 1], ".")
        scale_counts(axes, low, high)
        figure.canvas.draw()
        reach = axes.get_xlim()
        labels = [tick.get_text() for tick in axes.get_xticklabels() if reach[0] <= tick.get_position()[0] <= reach[1]]
        assert 1 <= len(labels) <= 8, (low, high, labels)
        assert all(label.replace(",", "").isdigit() for label in labels), labels


def test_jobs_that_were_done_again(result: Result) -> None:
    """As the log tells it, whose last line may be torn."""
    log, times = result.folder / "log.jsonl", result.rounds["time"].to_pylist()
    assert retries(Result(result.folder)).size == 0
    event = '{"event": "job retried", "client": 1'
    log.write_text(f'{event}, "round": 7}}\n{{"event": "else"}}\n{event}}}\n{event}, "round": 99}}\n{event}, "ro')
    assert retries(Result(result.folder)).tolist() == [times[0], times[7], times[30]]
    log.unlink()


def test_how_long_jobs_take(result: Result) -> None:
    """Those that ended, whose durations a world may let differ a thousandfold, or not at all."""
    jobs = result.arrivals.filter(pc.not_equal(result.arrivals["outcome"], "unfinished"))
    ended = pc.subtract(jobs["end"], jobs["start"]).to_numpy()
    worlds: list[tuple[NDArray[np.float64], str]] = [
        (ended, "linear"),
        (np.full(40, 1.3), "linear"),
        (np.geomspace(0.5, 900.0, 50), "log"),
    ]
    for durations, scale in worlds:
        axes = Figure().add_subplot()
        ends = np.cumsum(durations)
        table = pa.table({"start": ends - durations, "end": ends, "outcome": ["arrived"] * durations.size})
        words = draw_durations(axes, cast("Result", SimpleNamespace(arrivals=table)))
        assert axes.get_xscale() == scale
        assert sum(bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle)) == durations.size
        assert f"from {durations.min():.3g} to {durations.max():.3g} virtual seconds" in (words or "")
    assert draw_durations(Figure().add_subplot(), result)


def test_a_band_is_an_interval_from_three_seeds_on() -> None:
    low, high = find_interval(np.array([[1.0, 5.0], [3.0, 4.0]]), 0.0, 100.0)
    assert (low.tolist(), high.tolist()) == ([1, 4], [3, 5])
    low, high = find_interval(np.array([1.0, 2.0, 3.0]), 0.0, 100.0)
    assert float(low) == 0, "within bounds"
    assert float(high) == pytest.approx(2 + 4.302653 / 3**0.5)


def test_lorenz() -> None:
    """Of three clients: 50% of the data with 10% of the weight, 30 with 30, 20 with 60."""
    data, weight = lorenz(np.array([60.0, 10.0, 30.0]), np.array([20.0, 50.0, 30.0]))
    assert data.tolist() == [0, 50, 80, 100]
    assert weight.tolist() == [0, 10, 40, 100]


def test_an_svg_becomes_part_of_the_page() -> None:
    svg = (
        '<?xml?><svg width="9pt" viewBox="0 0 9 9"><g id="axes_1"><!-- a --><text style="font: 10px \'A\', sans-serif; '
    )
    svg += 'fill: #22272e">x</text></g></svg>'
    assert inline(svg, '"<b>') == (
        '<svg role="img" aria-label="&quot;&lt;b&gt;" viewBox="0 0 9 9"><g> <text style="font-size: 10px; '
        'fill: var(--ink)">x</text></g></svg>'
    )
    assert "--ink:#22272e;" in style()
