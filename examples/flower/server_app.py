"""The ServerApp: the run, on the side of the SuperLink."""

import digits
from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedqs_ray.backends.flower import serve, settings
from fedqs_ray.core.rows import Progress

app = ServerApp()


def show(progress: Progress) -> None:
    """One line a round."""
    print(f"round {progress.round} of {progress.rounds}: {progress.accuracy:.1%} after {progress.time:.0f} s")


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the federation and print its summary."""
    model = digits.model()
    result = serve(
        grid, settings(context.run_config), model.read(), digits.evaluate, layout=model.layout, on_progress=show
    )
    for label, text in result.summary.lines().items():
        print(f"{label:20}{text}")
    print(f"{'folder':20}{result.folder.resolve()}")
