import numpy as np

from fedqs_ray.core.random import derive_torch_seed, make_seed_sequence, stream


def test_a_stream_depends_on_its_own_key_only() -> None:
    assert stream(1, "resource", 3, 4).random(3).tolist() == stream(1, "resource", 3, 4).random(3).tolist()
    others = [
        stream(1, "resource", 3, 5),
        stream(1, "resource", 4, 4),
        stream(1, "training", 3, 4),
        stream(2, "resource"),
    ]
    draws = {float(s.random()) for s in [stream(1, "resource", 3, 4), *others]}
    assert len(draws) == 5


def test_the_codes_of_purposes_never_change() -> None:
    # New purposes go to the end: these spawn keys are part of every published result.
    assert make_seed_sequence(7, "split").spawn_key == (0, 0, 0)
    assert make_seed_sequence(7, "partition").spawn_key == (1, 0, 0)
    assert make_seed_sequence(7, "model").spawn_key == (2, 0, 0)
    assert make_seed_sequence(7, "resource", 5).spawn_key == (3, 5, 0)
    assert make_seed_sequence(7, "sampling", attempt=2).spawn_key == (4, 0, 2)
    assert [make_seed_sequence(7, name).spawn_key[0] for name in ("jitter", "loss", "leave")] == [6, 7, 8]
    assert make_seed_sequence(7, "training", 5, 2).spawn_key == (5, 5, 2)


def test_torch_seeds_fit_in_63_bits_and_differ() -> None:
    seeds = {derive_torch_seed(0, "training", client, attempt) for client in range(20) for attempt in range(20)}
    assert len(seeds) == 400
    assert max(seeds) < 2**63
    assert isinstance(derive_torch_seed(0, "model"), int)
    assert not isinstance(derive_torch_seed(0, "model"), np.integer)
