"""Names of the files and folders that a run leaves behind."""

LOCK = ".lock"
"""Held by the process that writes to the folder."""
LOG = "log.jsonl"
CONFIG = "config.toml"
ERROR = "error.txt"
REPORT = "report.html"
MODEL = "model.safetensors"
"""The last model; it is there once the run has ended."""
UNFINISHED = ".tmp"
"""Ending of a file while it is written."""
CHECKPOINTS, PICTURES, TENSORBOARD = "checkpoints", "pictures", "tensorboard"
"""Folders in it."""

TABLES = ("rounds", "arrivals", "clients", "labels", "timing")
TABLE_FILES = tuple(f"{table}{suffix}" for table in TABLES for suffix in (".arrows", ".parquet"))
"""A table while it grows, and when it is finished."""
FILES = (LOCK, LOG, CONFIG, ERROR, REPORT, MODEL, *TABLE_FILES)
"""What a run leaves at the top of its folder."""
REPRODUCIBLE = (*(f"{name}.parquet" for name in TABLES if name != "timing"), MODEL)
"""The files of a finished run that are the same, to the byte, in every repetition."""

PICTURE_NAMES = (
    "work", "durations", "losses", "staleness", "staleness_spread", "client_types", "feedback", "learning_rate",
    "momentum", "influence", "fairness", "label_accuracy", "client_accuracy", "labels", "samples", "gradients",
    "contraction", "accuracy_round", "accuracy_time", "accuracy_arrived", "loss_round", "loss_time", "loss_arrived",
)  # fmt: skip
"""What may lie in pictures/, without its ending `.svg`."""
