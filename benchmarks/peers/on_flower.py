"""The job under Flower's simulation: as many Ray actors as cores, all clients at work, the mean of every K replies.

Flower's own strategies wait for all clients; this polls the grid for replies every 5 ms.
"""

import argparse
import logging
import os
import time

import job
import torch
from flwr.app import ArrayRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.simulation import run_simulation

parser = argparse.ArgumentParser()
parser.add_argument("--updates", type=int, required=True)
parser.add_argument("--no-training", action="store_true")
arguments = parser.parse_args()
features, labels = job.clients()
client, server = ClientApp(), ServerApp()


@client.train()
def train(message: Message, context: Context) -> Message:
    """One client's update."""
    if arguments.no_training:
        return Message(content=RecordDict({"model": message.content["model"]}), reply_to=message)
    torch.set_num_threads(1)
    model = job.network()
    model.load_state_dict(message.content["model"].to_torch_state_dict())
    own = int(context.node_config["partition-id"])
    job.train(model, features[own], labels[own])
    return Message(content=RecordDict({"model": ArrayRecord(model.state_dict())}), reply_to=message)


@server.main()
def main(grid: Grid, context: Context) -> None:  # noqa: ARG001
    """The server's loop."""
    model, meter, replies = ArrayRecord(job.network().state_dict()), job.Meter(), []
    nodes = []
    while len(nodes) < job.CLIENTS:
        nodes = list(grid.get_node_ids())
    waiting = set()
    idle = nodes
    while meter.arrived < arguments.updates:
        waiting |= set(
            grid.push_messages(
                [Message(content=RecordDict({"model": model}), dst_node_id=node, message_type="train") for node in idle]
            )
        )
        idle = []
        while len(replies) < job.BUFFER:
            for reply in grid.pull_messages(waiting):
                waiting.discard(reply.metadata.reply_to_message_id)
                replies.append(reply)
                idle.append(reply.metadata.src_node_id)
                meter.add()
            time.sleep(0.005)
        states = [reply.content["model"].to_torch_state_dict() for reply in replies]
        model = ArrayRecord({key: torch.stack([state[key] for state in states]).mean(0) for key in states[0]})
        replies = []
    meter.report("flwr", "ray", "torch")


if __name__ == "__main__":
    logging.getLogger("flwr").setLevel(logging.ERROR)
    cores = os.cpu_count() or 1
    run_simulation(
        server_app=server,
        client_app=client,
        num_supernodes=job.CLIENTS,
        backend_config={
            "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
            "init_args": {"num_cpus": cores, "address": "local"},
        },
    )
