"""The job under APPFL's simulator with virtual time: FedBuff, all clients in flight, one process.

Without --collect its garbage collection after every step is switched off (`optimize_memory`).
"""

import argparse
import copy
import logging
from pathlib import Path

import job
import torch
from appfl.agent import ClientAgent, ServerAgent
from appfl.algorithm.trainer import VanillaTrainer
from appfl.vsim import AsyncSimDriver, ClientProfile
from omegaconf import OmegaConf
from torch.utils.data import TensorDataset

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, required=True)
parser.add_argument("--no-training", action="store_true")
parser.add_argument("--collect", action="store_true")
arguments = parser.parse_args()


def dataset(client: int) -> tuple[TensorDataset, None]:
    """The dataset of a client, called by APPFL."""
    features, labels = job.clients()
    return TensorDataset(features[client], labels[client]), None


def accuracy(truth: object, scores: object) -> float:  # noqa: ARG001
    """Not used."""
    return 0.0


def skip(self: VanillaTrainer, **_: object) -> None:
    """Return the received model, without training."""
    self.val_results = {"current_local_steps": 12, "compute_second_per_step": 0.001}
    self.model_state = copy.deepcopy(self.model.state_dict())


class Meter(AsyncSimDriver):
    """The driver, with a meter."""

    meter = job.Meter()

    def _handle_train_complete(self, cid: str, completion_time: float) -> None:
        super()._handle_train_complete(cid, completion_time)
        self.meter.add()


def main() -> None:
    """Set up, run, report."""
    torch.set_num_threads(1)
    if arguments.no_training:
        VanillaTrainer.train = skip
    here, name = str(Path(__file__).resolve()), "accuracy"
    server = OmegaConf.create(
        {
            "client_configs": {
                "train_configs": {
                    "trainer": "VanillaTrainer", "mode": "epoch", "num_local_epochs": job.EPOCHS, "optim": "SGD",
                    "optim_args": {"lr": job.LR}, "loss_fn": "CrossEntropyLoss", "metric_path": here,
                    "metric_name": name, "train_batch_size": job.BATCH, "clip_grad": True, "clip_value": job.CLIP,
                    "clip_norm": 2, "optimize_memory": arguments.collect,
                },
                "model_configs": {"model_path": str(Path(job.__file__).resolve()), "model_name": "network"},
                "comm_configs": {"compressor_configs": {"enable_compression": False}},
            },
            "server_configs": {
                "num_clients": job.CLIENTS, "scheduler": "AsyncScheduler",
                "scheduler_kwargs": {"optimize_memory": arguments.collect}, "aggregator": "FedBuffAggregator",
                "aggregator_kwargs": {
                    "client_weights_mode": "equal", "staleness_fn": "polynomial", "staleness_fn_kwargs": {"a": 0.5},
                    "alpha": 0.9, "K": job.BUFFER, "optimize_memory": arguments.collect,
                },
                "device": "cpu", "num_global_epochs": arguments.updates, "optimize_memory": arguments.collect,
            },
        }
    )  # fmt: skip
    agents = []
    for number in range(job.CLIENTS):
        own = {
            "client_id": f"client{number}", "train_configs": {"device": "cpu"}, "optimize_memory": arguments.collect,
            "data_configs": {"dataset_path": here, "dataset_name": "dataset", "dataset_kwargs": {"client": number}},
        }  # fmt: skip
        agents.append(ClientAgent(client_agent_config=OmegaConf.create(own)))
    hub = ServerAgent(server_agent_config=server)
    for agent in agents:
        agent.load_config(hub.get_client_configs())
    profiles = {agent.get_id(): ClientProfile(compute_factor=1 + number / 10) for number, agent in enumerate(agents)}
    logger = logging.getLogger("job")
    logger.setLevel(logging.ERROR)
    driver = Meter(hub, agents, profiles, max_in_flight=job.CLIENTS, logger=logger, base_step_time=0.001, eval_every=0)
    driver.run()
    driver.meter.report("appfl", "torch")


if __name__ == "__main__":
    main()
