"""The FedQS paper's unstable resources: every client's figure is redrawn at every attempt.

python benchmarks/unstable_resource.py [--task cifar10|digits|adult|shakespeare] [--scale laptop|paper] [--seeds 0,1,2]
"""

from robustness import main

SEED = {
    "fedavg": ("53.12 / 310 / 47397", "76.74 / 294 / 47156", "79.90 / 286 / 47788"),
    "fedqs-avg": ("64.52 / 268 / 55535", "83.53 / 241 / 55816", "84.35 / 252 / 56253"),
    "fedsgd": ("65.13 / 268 / 47613", "85.37 / 207 / 47096", "88.63 / 159 / 47634"),
    "fedqs-sgd": ("- / 223 / 55037", "87.96 / 185 / 55201", "89.14 / 133 / 55808"),
}
"""Accuracy in % / rounds to converge / run time in s, for x = 0.1, 0.5 and 1."""

if __name__ == "__main__":
    main("unstable", SEED)
