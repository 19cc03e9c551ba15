"""The FedQS paper's dropout: at half of the rounds half of the clients leaves for good.

python benchmarks/client_dropout.py [--task cifar10|digits|adult|shakespeare] [--scale laptop|paper] [--seeds 0,1,2]
"""

from robustness import main

SEED = {
    "fedavg": ("44.39 / 343 / 58993", "68.44 / 332 / 59362", "72.47 / 296 / 59447"),
    "fedqs-avg": ("53.22 / 297 / 62623", "79.33 / 272 / 63308", "81.08 / 253 / 63776"),
    "fedsgd": ("58.40 / 292 / 58345", "81.73 / 288 / 59487", "84.43 / 262 / 59732"),
    "fedqs-sgd": ("60.08 / 263 / 62870", "83.39 / 245 / 63992", "86.18 / 241 / 64703"),
}
"""Accuracy in % / rounds to converge / run time in s, for x = 0.1, 0.5 and 1."""

if __name__ == "__main__":
    main("dropout", SEED)
