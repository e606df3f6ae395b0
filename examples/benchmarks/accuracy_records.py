"""The records of ``accuracy.py``: written, read, and told as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from records import (
    DOCS,
    FRONTIER,
    MODEL_NAMES,
    PLAIN_SECONDS,
    SAME_ACCURACY,
    describe_machine,
    read_runs,
    spread,
    write_run,
)

from fmnist_sklearn.benchmark.results import PUBLISHED_ROWS

RECORDS = DOCS / "accuracy"

RECIPE_ORDER = ("published", "fast", "accurate", "distilled")
# (model, batch size) of the published rows, in their order.
_PUBLISHED = dict(
    zip(
        [(model, size) for model in MODEL_NAMES for size in (64, 128)],
        PUBLISHED_ROWS,
        strict=True,
    )
)


def path_of(key: dict[str, Any]) -> Path:
    """Return the file of a run: its recipe, model, batch size and seed."""
    return RECORDS / ("-".join(map(str, key.values())) + ".json")


def write_record(key: dict[str, Any], results: dict[str, Any]) -> Path:
    """Write what a run reached, and on what; a list of rows becomes columns."""
    history = results["history"]
    columns = {name: [row[name] for row in history] for name in history[0]}
    path = path_of(key)
    write_run(path, {**key, **results, "history": columns})
    return path


def read_records() -> pd.DataFrame:
    """Read all runs: one a row, sorted by recipe, model, batch size and seed."""
    frame = read_runs(RECORDS)
    frame["threads"] = [
        hardware["torch_threads"] if device == "cpu" else "GPU"
        for hardware, device in zip(frame["hardware"], frame["device"], strict=True)
    ]
    frame["recipe"] = pd.Categorical(frame["recipe"], RECIPE_ORDER, ordered=True)
    frame["seconds_to_published"] = [
        seconds_to(row.history, _PUBLISHED[row.model, 64][1])
        for row in frame.itertuples()
    ]
    return frame.sort_values(["recipe", "model", "batch_size", "seed"])


def seconds_to(history: dict[str, list[float]], accuracy: float) -> float:
    """Return the training time until the test images were told so well, or nan."""
    seconds = np.cumsum(history["dur"])
    reached = np.asarray(history["test_acc"]) >= accuracy
    return float(seconds[reached.argmax()]) if reached.any() else float("nan")


def recipes_table(records: pd.DataFrame) -> pd.DataFrame:
    """Sum up the seeds of each recipe, model and batch size, for readers."""
    keys = ["recipe", "model", "batch_size", "threads"]
    rows = []
    for (recipe, model, size, threads), runs in records.groupby(keys, observed=True):
        rows.append(
            {
                "recipe": recipe,
                "network": MODEL_NAMES[model],
                "batch size": size,
                "seeds": len(runs),
                "test accuracy": spread(runs["test_accuracy"]),
                "validation accuracy": spread(runs["validation_accuracy"]),
                "training time (s)": mean_time(runs["training_time_s"], runs["alone"]),
                "threads": threads,
                "epochs": f"{runs['epochs'].mean():.3g}",
                "to published (s)": mean_time(
                    runs["seconds_to_published"], runs["alone"]
                ),
            }
        )
    return pd.DataFrame(rows)


def mean_time(seconds: Any, alone: Any) -> str:
    """Write a mean time, with a mark where other work ran on the machine meanwhile."""
    mean = np.asarray(seconds).mean()  # nan where one run did not get there
    if np.isnan(mean):
        return "not reached"
    return f"{mean:,.0f}{'' if np.all(alone) else '*'}"


def flip_table(records: pd.DataFrame) -> pd.DataFrame:
    """Compare predictions with and without the mirror image (``predict_flip``)."""
    rows = []
    augmented = records[records["test_accuracy_flip"].notna()]
    for (recipe, model), runs in augmented.groupby(["recipe", "model"], observed=True):
        rows.append(
            {
                "recipe": recipe,
                "network": MODEL_NAMES[model],
                "seeds": len(runs),
                "test accuracy": spread(runs["test_accuracy"]),
                "with mirror images": spread(runs["test_accuracy_flip"]),
            }
        )
    return pd.DataFrame(rows)


def published_table(records: pd.DataFrame) -> pd.DataFrame:
    """Set the runs of the recipe "published" beside the published rows."""
    runs = records[records["recipe"] == "published"].set_index(["model", "batch_size"])
    rows = []
    for key, (name, accuracy, seconds, epochs) in _PUBLISHED.items():
        if key not in runs.index:
            continue
        run = runs.loc[key]
        rows.append(
            {
                "published row": name,
                "accuracy": f"{accuracy:.3f}",
                "epochs": epochs,
                "time (s)": seconds,
                "accuracy here": f"{run['validation_accuracy']:.4f}",
                "epochs here": run["epochs"],
                "time here (s)": mean_time(run["training_time_s"], run["alone"]),
                "test accuracy here": f"{run['test_accuracy']:.4f}",
            }
        )
    return pd.DataFrame(rows)


def plain_loop_table(records: pd.DataFrame) -> pd.DataFrame:
    """Set "fast" beside the published protocol in a plain loop, by training time.

    That protocol takes the seconds of an epoch (``published_plain.py``) times the
    epochs of our record of it.
    """
    plain = pd.read_csv(PLAIN_SECONDS).set_index(["model", "batch_size"])
    epochs = records[records["recipe"] == "published"].set_index(
        ["model", "batch_size"]
    )["epochs"]
    fast = records[records["recipe"] == "fast"].groupby("model")["training_time_s"]
    rows = []
    for (model, size), timing in plain.iterrows():
        if (model, size) not in epochs.index:
            continue
        whole = timing["seconds"] * epochs[model, size]
        seconds = fast.mean()[model]
        rows.append(
            {
                "network": MODEL_NAMES[model],
                "batch size": size,
                "plain loop, an epoch (s)": f"{timing['seconds']:.1f}",
                "epochs": epochs[model, size],
                "plain loop, published (s)": f"{whole:,.0f}",
                "fast (s)": f"{seconds:,.0f}",
                "ratio": f"{whole / seconds:.1f}",
            }
        )
    return pd.DataFrame(rows)


def benchmark_list_table(records: pd.DataFrame) -> pd.DataFrame:
    """Put our best recipes' means into Fashion-MNIST's own list of benchmarks."""
    listed = pd.read_csv(DOCS / "fashion_mnist_benchmarks.csv")
    best = records[records["recipe"].isin(["accurate", "distilled"])]
    ours = best.groupby(["recipe", "model"], observed=True).agg(
        accuracy=("test_accuracy", "mean"), parameters=("n_parameters", "first")
    )
    listed = listed.rename(columns={"classifier": "network"})
    rows = [
        {
            "network": f"**{MODEL_NAMES[model]}Classifier**, recipe {recipe}",
            "parameters": row["parameters"],
            "accuracy": round(row["accuracy"], 4),
        }
        for (recipe, model), row in ours.iterrows()
    ]
    merged = pd.concat([listed, pd.DataFrame(rows)], ignore_index=True)
    merged = merged.sort_values("accuracy", ascending=False, kind="stable")
    merged["parameters"] = [
        "" if pd.isna(n) else f"{int(n):,}" for n in merged["parameters"]
    ]
    merged["preprocessing"] = merged["preprocessing"].fillna("")
    return merged[["network", "preprocessing", "parameters", "accuracy"]]


def draw_progress(records: pd.DataFrame) -> Any:
    """Draw test accuracy against training time: a panel a network, a line a run.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    colours = dict(zip(RECIPE_ORDER, ("C7", "C0", "C1", "C3"), strict=True))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for ax, (model, name) in zip(axes, MODEL_NAMES.items(), strict=True):
        target = _PUBLISHED[model, 64][1]
        ax.axhline(target, color="0.7", linestyle=":", label=f"published {target}")
        for recipe, runs in records[records["model"] == model].groupby(
            "recipe", observed=True
        ):
            for number, run in enumerate(runs.itertuples()):
                ax.plot(
                    np.cumsum(run.history["dur"]),
                    run.history["test_acc"],
                    color=colours[recipe],
                    linewidth=1,
                    label=recipe if number == 0 else None,
                )
        ax.set(
            title=name,
            xscale="log",
            xlabel="Training time (s)",
            ylabel="Test accuracy",
            ylim=(target - 0.06, None),
        )
        ax.legend(loc="lower right", fontsize="small")
    return figure


def draw_frontier() -> Any:
    """Draw test accuracy against seconds of training, a line a kind of classifier.

    Returns
    -------
    matplotlib.figure.Figure
        Of what ``frontier.py`` measured, mean ± standard deviation over the seeds.
    """
    import matplotlib.pyplot as plt

    fits = pd.read_csv(FRONTIER)
    figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, runs in fits.groupby("contender", sort=False):
        sizes = runs.groupby("size")
        means = sizes[["seconds", "accuracy"]].mean()
        is_ours = "Classifier, " in name
        ax.errorbar(
            means["seconds"],
            means["accuracy"],
            yerr=sizes["accuracy"].std().fillna(0),
            marker="o",
            markersize=3,
            linestyle="-" if is_ours else "--",
            label=f"{name} (n={runs['seed'].nunique()})",
        )
    ax.set(xscale="log", xlabel="Training time (s)", ylabel="Test accuracy")
    ax.legend(fontsize="small")
    return figure


def same_accuracy_table() -> pd.DataFrame:
    """Set the estimators' accuracy beside a plain loop's (``same_accuracy.py``)."""
    seeds = pd.read_csv(SAME_ACCURACY)
    return pd.DataFrame(
        {
            "network": MODEL_NAMES[model],
            "epochs": runs["epochs"].iloc[0],
            "seeds": len(runs),
            "plain PyTorch loop": spread(runs["plain"]),
            "estimator": spread(runs["ours"]),
            "difference": f"{(runs['ours'] - runs['plain']).mean():+.4f}",
        }
        for model, runs in seeds.groupby("model")
    )


def describe_runs(records: pd.DataFrame) -> str:
    """Say on what hardware, with which versions and arithmetic the runs were made."""
    precisions = records.groupby("model")["precision"].unique()
    used = ", ".join(
        f"{MODEL_NAMES[model]} {' or '.join(sorted(names))}"
        for model, names in precisions.items()
    )
    return f"{describe_machine(records)} Arithmetic of the training: {used}."
