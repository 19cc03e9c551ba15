"""The FedQS paper's dynamic scale: resources 1:20, then 1:50, then 1:100, each a third of the run.

python benchmarks/dynamic_scale.py [--task cifar10|digits|adult|shakespeare] [--scale laptop|paper] [--seeds 0,1,2]
"""

from robustness import main

SEED = {
    "fedavg": ("52.77 / 322 / 46488", "77.29 / 288 / 47732", "76.79 / 227 / 48003"),
    "fedqs-avg": ("- / 264 / 53986", "82.90 / 235 / 54575", "83.22 / 201 / 55529"),
    "fedsgd": ("68.29 / 244 / 47443", "85.66 / 211 / 47728", "87.86 / 147 / 48280"),
    "fedqs-sgd": ("- / 206 / 54095", "88.12 / 177 / 55268", "88.80 / 115 / 55257"),
}
"""Accuracy in % / rounds to converge / run time in s, for x = 0.1, 0.5 and 1."""

if __name__ == "__main__":
    main("dynamic", SEED)
