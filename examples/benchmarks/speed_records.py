"""The records of the speed comparisons: written, read, and told as tables."""

from __future__ import annotations

import statistics
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import pandas as pd
from records import DOCS, MODEL_NAMES, describe_machine, read_runs, write_run

SPEED = DOCS / "speed"
SCALING = DOCS / "training_scaling.csv"  # from training_scaling.py

PLAIN_LOOP = "plain PyTorch loop"
OURS = "this package"
BARE_LOOP = "the same network in a bare loop"
_RIVALS = ("keras", "tensorflow", "jax")


def write_speed(run: dict[str, Any]) -> None:
    """Record the rounds of a comparison: job, model, batch size, threads, seconds."""
    name = "-".join(str(run[key]) for key in ("job", "model", "batch_size", "threads"))
    versions = {}
    for package in _RIVALS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    write_run(SPEED / f"{name}.json", {**run, "versions": versions})


def read_speed() -> pd.DataFrame:
    """Read all comparisons, one a row, training first."""
    runs = read_runs(SPEED)

    def position(index: int) -> tuple[Any, ...]:
        run = runs.loc[index]
        size = str(run["batch_size"]).zfill(5)
        return run["job"] == "prediction", run["model"], -run["threads"], size

    return runs.loc[sorted(runs.index, key=position)]


def ratios(run: Any, contender: str, baseline: str = PLAIN_LOOP) -> list[float]:
    """Return how many times as fast in each round.

    Rounds are compared each by itself, as a shared machine has good and bad minutes.
    """
    rounds = zip(run["seconds"][baseline], run["seconds"][contender], strict=True)
    return [theirs / ours for theirs, ours in rounds]


def ratio(run: Any, contender: str, baseline: str = PLAIN_LOOP) -> float:
    """Return how many times as fast: the median of the rounds' own ratios."""
    return statistics.median(ratios(run, contender, baseline))


def rates(run: Any) -> pd.DataFrame:
    """Tabulate rows a second (median, lowest, highest) and the ratio to the loop."""
    return pd.DataFrame(
        {
            "contender": name,
            "rows/s": run["rows"] / statistics.median(seconds),
            "lowest": run["rows"] / max(seconds),
            "highest": run["rows"] / min(seconds),
            "ratio": ratio(run, name),
        }
        for name, seconds in run["seconds"].items()
    )


def print_rates(run: dict[str, Any]) -> None:
    """Print the table of one comparison."""
    rounds = len(run["seconds"][PLAIN_LOOP])
    print(
        f"\n{run['job']}, {run['model']}, batch size {run['batch_size']}, "
        f"{run['rows']:,} rows, {run['threads']} threads, {rounds} rounds"
    )
    formats = dict.fromkeys(("rows/s", "lowest", "highest"), "{:,.0f}".format)
    print(rates(run).to_string(index=False, formatters=formats, float_format="%.2f"))


def title(run: Any) -> str:
    """Name a comparison in few words."""
    threads = f"{run['threads']} thread{'s' if run['threads'] > 1 else ''}"
    if run["job"] == "prediction":
        return f"{MODEL_NAMES[run['model']]}, predict, {threads}"
    return f"{MODEL_NAMES[run['model']]}, batch {run['batch_size']}, {threads}"


def speed_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Set the contenders side by side: rows a second, and in brackets the ratio."""
    columns = {
        title(run): {
            row["contender"]: f"{row['rows/s']:,.0f} ({row['ratio']:.2f})"
            for _, row in rates(run).iterrows()
        }
        for _, run in runs.iterrows()
    }
    table = pd.DataFrame(columns).fillna("")
    return table.rename_axis("contender").reset_index()


def machine_of(runs: pd.DataFrame) -> str:
    """Say on what the comparisons were made, and of how many rounds they are."""
    rounds = sorted({len(run["seconds"][PLAIN_LOOP]) for _, run in runs.iterrows()})
    return f"{' or '.join(map(str, rounds))} rounds; {describe_machine(runs)}"


def overhead_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Tell how much longer a fit takes than a bare loop with the same operations."""
    return pd.DataFrame(
        {
            "comparison": title(run),
            "overhead": f"{(1 / ratio(run, OURS, BARE_LOOP) - 1):+.1%}",
        }
        for _, run in runs.iterrows()
        if BARE_LOOP in run["seconds"]
    )


def spread_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Tell how this package's ratio to the plain loop differs from round to round."""
    return pd.DataFrame(
        {
            "comparison": title(run),
            "rounds": len(of_rounds),
            "lowest": f"{min(of_rounds):.2f}",
            "median": f"{statistics.median(of_rounds):.2f}",
            "highest": f"{max(of_rounds):.2f}",
        }
        for _, run in runs.iterrows()
        for of_rounds in [ratios(run, OURS)]
    )


def draw_scaling() -> Any:
    """Draw the time of an epoch against the number of rows, a line a network.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    times = pd.read_csv(SCALING)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    for ax, (model, name) in zip(axes, MODEL_NAMES.items(), strict=True):
        of_model = times[times["model"] == model]
        rate = (of_model["seconds"] / of_model["rows"]).median()
        ends = np.array([0, of_model["rows"].max()])
        ax.plot(ends, rate * ends, color="0.7", label="proportional")
        ax.plot(of_model["rows"], of_model["seconds"], "o", alpha=0.5, label="a round")
        ax.set(title=name, xlabel="Training rows", ylabel="Time of an epoch (s)")
        ax.set(xlim=(0, None), ylim=(0, None))
        ax.legend()
    return figure


def scaling_table() -> pd.DataFrame:
    """Tabulate the time of an epoch, and its distance from proportional.

    That is from the mean time a row of the same round, and the median of the rounds.
    """
    times = pd.read_csv(SCALING)
    per_row = times["seconds"] / times["rows"]
    of_round = per_row.groupby([times["model"], times["round"]]).transform("mean")
    times["distance"] = per_row / of_round - 1
    medians = times.groupby(["model", "rows"])[["seconds", "distance"]].median()
    return pd.DataFrame(
        {
            "network": MODEL_NAMES[model],
            "rows": f"{rows:,}",
            "seconds": f"{row.seconds:.2f}",
            "from proportional": f"{row.distance:+.1%}",
        }
        for (model, rows), row in medians.iterrows()
    )
