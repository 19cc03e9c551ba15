"""Ranges on the command line, and what is drawn from them."""

from itertools import islice

import pytest

from fedqs_ray import ConfigError, load
from fedqs_ray.experiments.search_space import draw_points, place_point, read_axes, read_axis

BASE = load(None, ["clients.count=50"])


def test_draws_follow_from_the_seed_and_more_of_them_begin_alike() -> None:
    space = read_axes(
        ["training.lr=log:0.003:0.3", "server.buffer_size=uniform:5:7", "algorithm.name=choice:fedavg,ace"], BASE
    )
    points = list(islice(draw_points(space, 0), 200))
    assert points[:20] == list(islice(draw_points(space, 0), 20))
    assert points[:20] != list(islice(draw_points(space, 1), 20))
    rates = [point["training.lr"] for point in points]
    assert all(0.003 <= rate <= 0.3 and rate == float(f"{rate:.4g}") for rate in rates)
    assert 70 < sum(rate < 0.03 for rate in rates) < 130, "half of them in the lower decade"
    sizes = [point["server.buffer_size"] for point in points]
    assert all(45 < sizes.count(size) < 90 for size in (5, 6, 7)), "both bounds are drawn like what is between"
    assert {type(size) for size in sizes} == {int}
    assert {place_point(BASE, point).algorithm.name for point in points} == {"fedavg", "ace"}


def test_whole_numbers_on_a_logarithmic_scale() -> None:
    space = read_axes(["training.local_epochs=log:1:3"], BASE)
    drawn = [point["training.local_epochs"] for point in draw_points(space, 0)]
    assert sorted(drawn) == [1, 2, 3], "each once, then there is no more"


def test_a_choice_may_unset_and_may_be_of_anything() -> None:
    space = read_axes(["server.buffer_timeout=choice:none,5", "training.clients_per_step=choice:auto,1"], BASE)
    found = [place_point(BASE, point) for point in draw_points(space, 0)]
    assert {(one.server.buffer_timeout, one.training.clients_per_step) for one in found} == {
        (None, "auto"), (None, 1), (5.0, "auto"), (5.0, 1),
    }  # fmt: skip
    (ratios,) = read_axes(["scenario.ratios=choice:[20,50],[10,100],[7]"], load(None, ["scenario.name=dynamic"]))
    assert ratios.values == ([20, 50], [10, 100], [7])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training.lr", "--param training.lr: must look like section.key=log:LOW:HIGH, "),
        ("training.lr=lg:1:2", "--param training.lr=lg:1:2: lg: must be one of log, uniform, choice; did you mean"),
        ("training.lr=log:0:2", "--param training.lr=log:0:2: LOW must be above 0 on a logarithmic scale"),
        ("training.lr=uniform:2:1", "--param training.lr=uniform:2:1: LOW must be below HIGH"),
        ("training.lr=uniform:1:1", "--param training.lr=uniform:1:1: LOW must be below HIGH"),
        ("training.lr=uniform:a:1", "--param training.lr=uniform:a:1: must be two numbers, LOW:HIGH"),
        ("training.lr=uniform:0.1:inf", "--param training.lr=uniform:0.1:inf: must be two numbers, LOW:HIGH"),
        ("training.lr=choice:", "--param training.lr=choice:: must be one or more values, each once"),
        ("training.lr=choice:1,1", "--param training.lr=choice:1,1: must be one or more values, each once"),
        ("training.lrr=log:1:2", "training.lrr: no such setting; did you mean training.lr?"),
        ("training.lr=uniform:-1:2", "training.lr = -1: must be greater than 0"),
        ("server.buffer_size=uniform:1.5:3", "server.buffer_size = 1.5: must be a whole number"),
        ("server.buffer_size=choice:5,80", "server.buffer_size = 80: must be at most clients.count = 50"),
        ("algorithm.name=choice:fedavg,fedsdg", 'algorithm.name = "fedsdg": must be one of '),
        ("run.rounds=choice:1,2", "--param run.rounds=choice:1,2: must not be of the section run"),
        ("a\nb=choice:1", '"a\\nb": no such setting'),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_axes([text], BASE)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_a_setting_has_one_range() -> None:
    with pytest.raises(ConfigError, match=r"--param training\.lr: must be given once"):
        read_axes(["training.lr=log:0.1:1", "training.lr=choice:1"], BASE)


def test_four_digits_stay_within_the_bounds() -> None:
    one = read_axis("training.lr=uniform:0.100009:0.1000099")
    assert all(0.100009 <= point["training.lr"] <= 0.1000099 for point in islice(draw_points([one], 0), 5))
