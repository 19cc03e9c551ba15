"""The job under FLGo: FedBuff, all clients at work with latencies of 1 to 10 of its time units, one process."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import job

CONFIG = """
import job
import torch
from torch.utils.data import TensorDataset

features, labels = job.clients()
train_data = TensorDataset(features.flatten(0, 1), labels.flatten())


def get_model():
    return job.network()
"""

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, required=True)
parser.add_argument("--no-training", action="store_true")
arguments = parser.parse_args()


def main() -> None:
    """Set up, run, report."""
    import flgo
    import flgo.algorithm.fedbuff as fedbuff
    import flgo.benchmark.partition as partition
    import flgo.benchmark.toolkits.cv.classification as classification
    from flgo.simulator.base import BasicSimulator

    meter = job.Meter()

    class Latencies(BasicSimulator):
        def initialize(self) -> None:
            own = {client: 1 + number % 10 for number, client in enumerate(self.clients)}
            self.set_variable(list(own), "latency", list(own.values()))

    class Server(fedbuff.Server):
        def package_handler(self, received: dict[str, list[object]]) -> bool:
            meter.add(len(received["__cid"]))
            return bool(super().package_handler(received))

    class Client(fedbuff.Client):
        def train(self, model: object) -> None:
            if not arguments.no_training:
                super().train(model)

    class Algorithm:
        pass

    Algorithm.Server, Algorithm.Client = Server, Client  # type: ignore[attr-defined]
    Path("config.py").write_text(CONFIG)
    benchmark = flgo.gen_benchmark_from_file(benchmark="fcn", config_file="config.py", target_path=".")
    sys.path.insert(0, str(Path.cwd()))
    fcn = __import__(benchmark)
    fcn.visualize = lambda *_: None  # its picture of the partition takes minutes
    # Without this method today's torch refuses the class.
    classification.FromDatasetPipe.TaskDataset.__getitems__ = lambda self, rows: [self[row] for row in rows]
    flgo.gen_task_by_(fcn, partition.IIDPartitioner(num_clients=job.CLIENTS), "task")
    option = {
        "num_rounds": arguments.updates // job.BUFFER, "num_epochs": job.EPOCHS, "batch_size": job.BATCH,
        "learning_rate": job.LR, "learning_rate_decay": 1.0, "clip_grad": job.CLIP, "proportion": 1.0,
        "sample": "uniform", "train_holdout": 0.0, "eval_interval": -1, "no_log_console": True, "no_tqdm": True,
        "check_interval": arguments.updates, "algo_para": [job.BUFFER / job.CLIENTS, 1.0],
    }  # fmt: skip
    flgo.init("task", Algorithm, option, Simulator=Latencies).run()
    meter.report("flgo", "torch")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        main()
