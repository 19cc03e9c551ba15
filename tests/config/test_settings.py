"""Configuration: what is accepted, and the one line that a mistake gets."""

import re
from pathlib import Path

import pytest

from fedqs_ray.config.algorithms import FedQSConfig
from fedqs_ray.config.experiment import Experiment
from fedqs_ray.config.explain import RENAMED
from fedqs_ray.config.loading import load_experiment
from fedqs_ray.config.reference import format_help, format_reference
from fedqs_ray.config.schema import list_paths
from fedqs_ray.config.tasks import Adult, Groups
from fedqs_ray.core.exceptions import ConfigError

ROOT = Path(__file__).resolve().parents[2]

MISTAKES = {
    "run.roundz=3": "run.roundz: no such setting; did you mean run.rounds?",
    "training.cohort=4": "training.cohort: is called training.clients_per_step now",
    "rounds=3": "rounds: no such setting; did you mean run.rounds?",
    "xyzzy=3": "xyzzy: no such setting; known here: seed, ",
    "run.rounds=0": "run.rounds = 0: must be greater than or equal to 1",
    "run.rounds=2.5": "run.rounds = 2.5: must be a whole number",
    "run.rounds=abc": 'run.rounds = "abc": must be a whole number',
    "run.rounds=true": "run.rounds = true: must be a whole number",
    "run=3": "run = 3: must be a table of settings",
    "run.clock=sundial": 'run.clock = "sundial": must be "virtual"',
    "run.out=3": 'run.out = 3: must be text in "quotes"',
    "training.lr=-1": "training.lr = -1: must be greater than 0",
    "training.lr=nan": "training.lr = nan: must be a finite number",
    "algorithm.name=fedqz-avg": 'algorithm.name = "fedqz-avg": must be one of fedavg, fedsgd, fedqs-avg, fedqs-sgd, '
    "fedavg-sync, ",
    "algorithm.name=mine.MyOwn": 'algorithm.name = "mine.MyOwn": must be one of fedavg, fedsgd, ',
    "algorithm.momentum=1": "algorithm.momentum = 1: must be true or false",
    "algorithm.similarity=angle": 'algorithm.similarity = "angle": must be "cosine", "euclidean" or "manhattan"',
    "task.partition.name=sex": 'task.partition.name = "sex": must be one of iid, dirichlet, shards',
    "clients.actors=0": 'clients.actors = 0: must be greater than or equal to 1 or "auto"',
    "clients.actors=many": 'clients.actors = "many": must be a whole number or "auto"',
    "clients.concurrency=101": "clients.concurrency = 101: must be at most clients.count = 100",
    "clients.concurrency=9": "server.buffer_size = 10: must be at most clients.concurrency = 9",
    "server.buffer_size=101": "server.buffer_size = 101: must be at most clients.count = 100",
    "seed.x=1": "seed.x: seed is a setting, not a section",
    "seed": "--set seed: must look like section.key=value",
    "a..b=3": "--set a..b=3: must look like section.key=value",
    "lr=0.1": "lr: no such setting; did you mean training.lr?",
    "run.sigma=1": "run.sigma: no such setting; did you mean task.partition.sigma or scenario.sigma?",
    "scenario.sigma=1": 'scenario.sigma: no such setting for scenario.name = "static", only for lognormal',
    "algorithm=fedavg": 'algorithm = "fedavg": must be a table of settings; did you mean algorithm.name=fedavg?',
    "task.partition=iid": 'task.partition = "iid": must be a table of settings; did you mean task.partition.name=iid?',
    "task.features=[a,b]": 'task.features: no such setting for task.name = "digits", only for parquet',
    "scenario.ratio=1:50": 'scenario.ratio = "1:50": must be a whole number; write 50 for 1:50',
    "run.rounds=a\nb": 'run.rounds = "a\\nb": must be a whole number',
    "run.rounds=3\nx=4": 'run.rounds = "3\\nx=4": must be a whole number',
    "run.ro\nunds=3": 'run."ro\\nunds": no such setting; did you mean run.rounds?',
    "run.rounds=none": 'run.rounds = "none": must be a whole number',
    f"run.rounds={'x' * 500}": f'run.rounds = "{"x" * 56}...: must be a whole number',
    f"{'x' * 500}=3": f'"{"x" * 57}...": no such setting',
    f"x={'[' * 3000}": "x: no such setting",
    f"run.rounds=0x{'f' * 5000}": "run.rounds = a number of 20000 bits: must be less than or equal to 1000000000",
    f"run.rounds={'9' * 5000}": 'run.rounds = "999',
    "training.lr=2e6": "training.lr = 2000000.0: must be less than or equal to 1000000",
    "training.batch_size=1_000_000_000_000": "training.batch_size = 1000000000000: must be less than or equal to",
    "scenario.ratio=2_000_000_000": "scenario.ratio = 2000000000: must be less than or equal to 1000000000",
    "scenario.jitter=11": "scenario.jitter = 11: must be less than or equal to 10",
    "algorithm.phi=1e9": "algorithm.phi = 1000000000.0: must be less than or equal to 100",
    "task.partition.alpha=1e-9": "task.partition.alpha = 1e-09: must be greater than or equal to 0.000001",
    "clients.num_cpus=1e-5": "clients.num_cpus = 1e-05: must be greater than or equal to 0.0001",
    "clients.num_gpus=1.5": "clients.num_gpus = 1.5: must be 0, a fraction from 0.0001 to 1, or a whole number",
    'run.out=""': 'run.out = "": must be a path in UTF-8, neither empty nor with control characters',
    'run.out="a\\u0000b"': 'run.out = "a\\x00b": must be a path in UTF-8, neither empty nor with control characters',
    f"run.out={'x' * 256}": f'run.out = "{"x" * 56}...: must be a path of at most 4000 bytes, 255 between slashes',
    "run.out=\udcff": 'run.out = "\\udcff": must be a path in UTF-8',
    "run.address=ray://head:10001": 'run.address = "ray://head:10001": must be "local", "auto" or HOST:PORT',
    "run.address=head:99999": 'run.address = "head:99999": must be "local", "auto" or HOST:PORT',
}
"""What a mistake's line starts with."""


@pytest.mark.parametrize("override", MISTAKES, ids=lambda override: ascii(override)[:40])
def test_a_mistake_gets_one_line(override: str) -> None:
    setup = ["seed=1"] if override.startswith("seed.") else []
    with pytest.raises(ConfigError) as caught:
        load_experiment(None, [*setup, override])
    assert str(caught.value).startswith(MISTAKES[override])
    assert "\n" not in str(caught.value)


def test_a_renamed_setting_exists_under_its_new_name() -> None:
    for old, new in RENAMED.items():
        assert old not in list_paths()
        assert new in list_paths()
        with pytest.raises(ConfigError, match=f"^{re.escape(old)}: is called {re.escape(new)} now$"):
            load_experiment(None, [f"{old}=1"])


def test_a_section_that_was_given_a_value() -> None:
    with pytest.raises(ConfigError, match=r'algorithm = "fedavg": .*did you mean algorithm\.name=fedavg'):
        load_experiment(None, ["algorithm=fedavg", "algorithm.phi=0.2"])


@pytest.mark.parametrize(
    ("overrides", "tail"),
    [
        (["algorithm.name=mine.MyOwn"], "ca2fl, ace, module:Class of your own"),
        (["task.name=parquet", "task.features=a, b"], """; write ["a", "b"], in a shell in 'single quotes'"""),
        (["scenario.name=dynamic", "scenario.ratios=1:20,1:50"], "; write 20 for 1:20"),
        (["task.partition.name=sex"], "lognormal; sex is for task.name = adult"),
        (["task.partition.name=shard"], "; did you mean shards?"),
        (["scenario.name=dynamic", "scenario.ratios=-1"], """; write [-1], in a shell in 'single quotes'"""),
        (["scenario.name=dynamic", "scenario.ratios=[20,a]"], """; write [20, "a"], in a shell in 'single quotes'"""),
    ],
)
def test_a_mistake_is_told_how_to_write_it(overrides: list[str], tail: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(None, overrides)
    assert str(caught.value).endswith(tail)


def test_lists_and_tails_have_their_own_words() -> None:
    for override, message in {
        "scenario.ratios=20": "scenario.ratios = 20: must be a list in [brackets]; "
        "write [20], in a shell in 'single quotes'",
        "scenario.ratios={a=1}": "scenario.ratios = {...}: must be a list in [brackets]",
        "scenario.ratios=[]": "scenario.ratios = []: must be a list of at least one",
        'scenario.ratios=[20, "1:50"]': 'scenario.ratios[1] = "1:50": must be a whole number; write 50 for 1:50',
    }.items():
        with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
            load_experiment(None, ["scenario.name=dynamic", override])
    with pytest.raises(ConfigError, match=r"scenario\.shape = 0\.01: must be greater than or equal to 0\.05"):
        load_experiment(None, ["scenario.name=pareto", "scenario.shape=0.01"])


def test_overrides_are_trimmed_the_last_counts_and_none_unsets() -> None:
    experiment = load_experiment(
        None, [" run . rounds = 3", "run.rounds=4", "clients.concurrency=20", "clients.concurrency=none"]
    )
    assert experiment.run.rounds == 4
    assert experiment.clients.concurrency is None


def test_a_folder_may_have_any_name() -> None:
    for name in ("none", "😀/it's [red]", '"3"', "1e5"):
        assert load_experiment(None, out=name).run.out == name


def test_a_setting_of_another_kind_is_named_with_its_kind() -> None:
    with pytest.raises(ConfigError, match=re.escape('algorithm.phi: no such setting for algorithm.name = "fedavg"')):
        load_experiment(None, ["algorithm.name=fedavg", "algorithm.phi=2"])


def test_actors_and_clients_per_actor_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match=r"clients\.actors = 2: clients\.clients_per_actor = 3 decides it"):
        load_experiment(None, ["clients.actors=2", "clients.clients_per_actor=3"])


def test_files_and_overrides(tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    file.write_text('seed = 3\n[algorithm]\nphi = 0.2\n[task]\nname = "adult"\n[task.partition]\nsigma = 0.5\n')
    experiment = load_experiment(file, ["algorithm.name=fedqs-avg", "training.lr=1"])
    assert experiment.seed == 3
    assert experiment.training.lr == 1.0
    assert isinstance(experiment.algorithm, FedQSConfig)
    assert (experiment.algorithm.name, experiment.algorithm.phi) == ("fedqs-avg", 0.2)
    assert isinstance(experiment.task, Adult)
    assert experiment.task.partition == Groups(name="sex", sigma=0.5)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load_experiment(tmp_path / "nowhere.toml")
    (tmp_path / "bad.toml").write_text("seed = = 3")
    with pytest.raises(ConfigError, match=r"bad\.toml: not a TOML file: .*line 1"):
        load_experiment(tmp_path / "bad.toml")
    for name, content, message in (
        ("binary", b"\xff\xfe\x00", "not a TOML file"),
        ("digits", b"seed = " + b"9" * 5000, "a number has thousands of digits"),
        ("deep", b"seed = " + b"[" * 5000, "nested too deeply"),
        ("dotted", b'"run.rounds" = 3', re.escape('"run.rounds": no such setting; did you mean run.rounds?')),
        ("dotted", b'[task]\n"name" = "digits"\n"a.b".c = 3', re.escape('task."a.b": no such setting for task.name')),
    ):
        (tmp_path / f"{name}.toml").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            load_experiment(tmp_path / f"{name}.toml")
    with pytest.raises(ConfigError, match=r"a\\x00b: cannot be read: embedded null byte"):
        load_experiment("a\0b")


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_bytes(b"\xef\xbb\xbfseed = 3\n")
    assert load_experiment(tmp_path / "a.toml").seed == 3


def test_every_setting_explains_itself() -> None:
    text = format_help()
    for path in list_paths():
        if path != "versions":
            assert f"  {path} = " in text
    assert "unset" in text
    assert not [line for line in text.splitlines() if line.strip() == ""][45:]


def test_the_reference_page_is_current() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert page == format_reference(), "run: fedqs settings > docs/configuration.md"


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_file_loads(path: Path) -> None:
    assert isinstance(load_experiment(path), Experiment)
