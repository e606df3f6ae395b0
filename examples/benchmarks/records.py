"""The results of the benchmarks: files in ``docs``, and the tables made of them.

The docs take their tables and figures from here at every build. README.md is filled by
``python examples/benchmarks/records.py``.
"""

from __future__ import annotations

import json
import statistics
import textwrap
from collections.abc import Iterable
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fmnist_sklearn.benchmark import (
    describe_hardware,
    describe_versions,
    table_to_markdown,
)
from fmnist_sklearn.benchmark.results import PUBLISHED_ROWS, to_jsonable
from fmnist_sklearn.models import MODELS
from fmnist_sklearn.storage.files import atomic_write

DOCS = Path(__file__).parents[2] / "docs"
RUNS = DOCS / "accuracy"  # from accuracy.py
SPEED = DOCS / "speed"  # from training_speed.py and prediction_speed.py
DEFAULTS = DOCS / "defaults.csv"  # from defaults.py
DEFAULTS_CHOICE = DOCS / "defaults_choice.csv"  # from defaults.py --choose
RACING = DOCS / "racing.csv"  # from racing.py
RECIPE_CHOICE = DOCS / "recipe_choice.csv"  # see docs/accuracy.rst
SAME_ACCURACY = DOCS / "same_accuracy.csv"  # from same_accuracy.py

# The names in the scripts' arguments and files -> the names in tables.
MODEL_NAMES = {name.lower(): name for name in MODELS}
RECIPE_ORDER = ("published", "fast", "accurate", "distilled")
# (model, batch size) of the published rows, in their order.
_PUBLISHED = dict(
    zip(
        [(model, size) for model in MODEL_NAMES for size in (64, 128)],
        PUBLISHED_ROWS,
        strict=True,
    )
)
# Contenders of the speed comparisons that tables refer to.
PLAIN_LOOP = "plain PyTorch loop"
COMPILED_LOOP = "the same with torch.compile"
OURS = "this package"
BARE_LOOP = "the same network in a bare loop"
_RIVALS = ("keras", "tensorflow", "jax", "onnxruntime", "openvino")

# Files


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write a table as CSV, whole or not at all."""
    with atomic_write(path, "w") as file:
        pd.DataFrame(rows).to_csv(file, index=False, lineterminator="\n")


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a table, their values as text; none if there is no file yet."""
    if not path.exists():
        return []
    return pd.read_csv(path, dtype=str, keep_default_na=False).to_dict("records")


def is_recorded(path: Path, row: dict[str, Any]) -> bool:
    """Return whether a row of the table has these values."""
    wanted = {name: str(value) for name, value in row.items()}
    return any(wanted.items() <= each.items() for each in read_rows(path))


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a table and print it."""
    write_rows(path, [*read_rows(path), row])
    print(row, flush=True)


def write_run(path: Path, content: dict[str, Any]) -> None:
    """Write what a run measured, with the date, the hardware and the versions."""
    versions = describe_versions()
    for package in _RIVALS:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    content = {
        **content,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": describe_hardware(),
        "versions": versions,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path, "w") as file:
        json.dump(to_jsonable(content), file, allow_nan=False)
        file.write("\n")


def read_runs(folder: Path) -> pd.DataFrame:
    """Read the runs of a folder, one a row."""
    files = sorted(folder.glob("*.json"))
    return pd.DataFrame([json.loads(file.read_text("utf-8")) for file in files])


def spread(values: Iterable[float]) -> str:
    """Write mean and standard deviation over seeds, or the only value."""
    values = np.asarray(list(values))
    mean = f"{values.mean():.4f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.4f}"


def describe_machine(runs: pd.DataFrame) -> str:
    """Describe the hardware and the versions with which the runs were made."""
    versions: dict[str, set[str]] = {}
    for hardware, of_run in zip(runs["hardware"], runs["versions"], strict=True):
        machine = hardware["gpu"] or f"{hardware['cpu']}, {hardware['cores']} cores"
        versions.setdefault(machine, set()).update(
            f"{name} {number}"
            for name, number in of_run.items()
            if name != "fmnist-sklearn"
        )
    return " ".join(
        f"{machine}: {', '.join(sorted(names, key=str.lower))}."
        for machine, names in sorted(versions.items())
    )


# Accuracy of the recipes


def path_of(key: dict[str, Any]) -> Path:
    """Return the file of a run: its recipe, model, batch size and seed."""
    return RUNS / ("-".join(map(str, key.values())) + ".json")


def write_record(key: dict[str, Any], results: dict[str, Any]) -> None:
    """Write the results of a run; the rows of its history become columns."""
    history = results["history"]
    columns = {name: [row[name] for row in history] for name in history[0]}
    write_run(path_of(key), {**key, **results, "history": columns})


def read_records() -> pd.DataFrame:
    """Read all runs: one a row, sorted by recipe, model, batch size and seed."""
    frame = read_runs(RUNS)
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
    """Return the training time until that test accuracy was reached, or nan."""
    seconds = np.cumsum(history["dur"])
    reached = np.asarray(history["test_acc"]) >= accuracy
    return float(seconds[reached.argmax()]) if reached.any() else float("nan")


def mean_time(seconds: Any, alone: Any) -> str:
    """Write a mean time, with a star if other work ran on the machine meanwhile."""
    mean = np.asarray(seconds).mean()  # nan if one run did not reach the accuracy
    if np.isnan(mean):
        return "not reached"
    return f"{mean:,.0f}{'' if np.all(alone) else '*'}"


def recipes_table(records: pd.DataFrame) -> pd.DataFrame:
    """Sum up the seeds of each recipe, model and batch size."""
    keys = ["recipe", "model", "batch_size", "threads"]
    return pd.DataFrame(
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
            "to published (s)": mean_time(runs["seconds_to_published"], runs["alone"]),
        }
        for (recipe, model, size, threads), runs in records.groupby(keys, observed=True)
    )


def _candidates(recipe: str, network: str) -> tuple[pd.DataFrame, dict[str, str]]:
    """Split candidates for a recipe into what varies, and what is equal in all."""
    rows = pd.read_csv(RECIPE_CHOICE, dtype=str, keep_default_na=False)
    of_both = (rows["recipe"] == recipe) & (rows["network"] == network)
    rows = rows[of_both].drop(columns=["recipe", "network"])
    equal = [name for name in rows if rows[name].nunique() == 1]
    return rows.drop(columns=equal), rows[equal].iloc[0].to_dict()


def choice_table(recipe: str, network: str) -> pd.DataFrame:
    """Tabulate the candidates for a recipe: what varies, and their validation."""
    return _candidates(recipe, network)[0]


def describe_choice(recipe: str, network: str) -> str:
    """Describe what is equal in all candidates, except for what is 0 or none."""
    _, equal = _candidates(recipe, network)
    parts = [f"{name.replace('_', ' ')} {value}" for name, value in equal.items()]
    return ", ".join(part for part in parts if part.rpartition(" ")[2] not in "0.0")


def flip_table(records: pd.DataFrame) -> pd.DataFrame:
    """Compare predictions with and without the mirror image (``predict_flip``)."""
    flipped = records[records["test_accuracy_flip"].notna()]
    return pd.DataFrame(
        {
            "recipe": recipe,
            "network": MODEL_NAMES[model],
            "seeds": len(runs),
            "test accuracy": spread(runs["test_accuracy"]),
            "with mirror images": spread(runs["test_accuracy_flip"]),
        }
        for (recipe, model), runs in flipped.groupby(["recipe", "model"], observed=True)
    )


def published_table(records: pd.DataFrame) -> pd.DataFrame:
    """Compare the runs of the recipe "published" with the published rows."""
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


def same_accuracy_table() -> pd.DataFrame:
    """Compare the estimators' accuracy with a plain loop's (``same_accuracy.py``)."""
    return pd.DataFrame(
        {
            "network": MODEL_NAMES[model],
            "epochs": runs["epochs"].iloc[0],
            "seeds": len(runs),
            "plain PyTorch loop": spread(runs["plain"]),
            "estimator": spread(runs["ours"]),
            "difference": f"{(runs['ours'] - runs['plain']).mean():+.4f}",
        }
        for model, runs in pd.read_csv(SAME_ACCURACY).groupby("model")
    )


def draw_progress(records: pd.DataFrame) -> Any:
    """Draw test accuracy against training time: a panel a network, a line a run.

    Returns
    -------
    matplotlib.figure.Figure
    """
    import matplotlib.pyplot as plt

    colours = dict(zip(RECIPE_ORDER, ("C3", "C0", "C1", "C2"), strict=True))
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for ax, (model, name) in zip(axes, MODEL_NAMES.items(), strict=True):
        target = _PUBLISHED[model, 64][1]
        ax.axhline(target, color="0.7", linestyle=":", label=f"published {target}")
        of_model = records[records["model"] == model]
        for recipe, runs in of_model.groupby("recipe", observed=True):
            for number, run in enumerate(runs.itertuples()):
                ax.plot(
                    np.cumsum(run.history["dur"]),
                    run.history["test_acc"],
                    color=colours[recipe],
                    linewidth=1,
                    label=recipe if number == 0 else None,
                )
        ax.set(title=name, xlabel="Training time (s)", ylabel="Test accuracy")
        ax.set(xscale="log", ylim=(target - 0.06, None))
        ax.legend(loc="lower right", fontsize="small")
    return figure


def _read_defaults(few: bool = False) -> pd.DataFrame:
    """Read the fits of ``defaults.py``; seconds on one thread are the processor's."""
    fits = pd.read_csv(DEFAULTS)
    fits = fits[fits["set"].str.contains(":") == few]
    # Those of the other sets with two threads are for `default_times_table`.
    fits = fits[(fits["threads"] == 1) | (fits["set"] == "fashion60000")]
    seconds = fits["cpu"].where(fits["threads"] == 1, fits["seconds"])
    return fits.assign(seconds=seconds)


def defaults_table(few: bool = False) -> pd.DataFrame:
    """Tabulate what ``defaults.py`` measured, a row a data set, a column an estimator.

    Parameters
    ----------
    few : bool
        Whether of the sets with a few rows of a few classes, or of the others.

    Returns
    -------
    pandas.DataFrame
        Test accuracy, mean ± standard deviation over the splits, and the median of the
        seconds of a fit (:func:`_read_defaults`). The best of a set is bold; "before"
        does not compete.
    """
    fits = _read_defaults(few)
    runs = fits.groupby(["set", "rows", "estimator"], sort=False)
    accuracy = runs["accuracy"].mean().unstack()[fits["estimator"].unique()]
    now = [name for name in accuracy if not name.endswith("before")]
    best = accuracy[now].max(axis=1)
    cells = accuracy.astype(object)
    for (*row, name), some in runs:
        mean, spread = accuracy.loc[tuple(row), name], some["accuracy"].std()
        text = f"{mean:.4f}" + (f" ± {spread:.4f}" if len(some) > 1 else "")
        text = f"**{text}**" if name in now and mean == best[tuple(row)] else text
        n = f" (n={len(some)})" if len(some) != 5 else ""
        cells.loc[tuple(row), name] = f"{text}{n}, {some['seconds'].median():.3g} s"
    cells.columns = cells.columns.str.replace(r"Classifier|\(\)", "", regex=True)
    return cells.fillna("").reset_index()


def default_times_table() -> pd.DataFrame:
    """Tabulate the seconds of fits in turn on two threads, now and before."""
    fits = pd.read_csv(DEFAULTS).query("threads == 2")
    seconds = fits.groupby(["set", "rows", "estimator"], sort=False)["seconds"]
    now = seconds.median().unstack()
    table = pd.DataFrame(index=now.index)
    for name in ("LeNet5Classifier", "MiniVGGClassifier"):
        new, old = now[f"{name}()"], now[f"{name}, before"]
        short = name.removesuffix("Classifier")
        table[f"{short} (s)"], table[f"{short}, before (s)"] = (
            new.round(1),
            old.round(1),
        )
        table[f"{short}, ratio"] = (new / old).round(2)
    return table.reset_index()


def draw_defaults() -> Any:
    """Draw what ``defaults.py`` measured: accuracy against time, a panel a data set."""
    import matplotlib.pyplot as plt

    fits = _read_defaults()
    fits = fits[~fits["estimator"].str.endswith("before")]
    names, sets = fits["estimator"].unique(), fits["set"].unique()
    n_lines = -(-len(sets) // 3)
    figure, axes = plt.subplots(
        n_lines, 3, figsize=(9, 2.6 * n_lines), layout="constrained", squeeze=False
    )
    for ax in axes.flat[len(sets) :]:
        ax.remove()
    for ax, set_ in zip(axes.flat, sets, strict=False):
        runs = fits[fits["set"] == set_].groupby("estimator")
        seconds, accuracy = runs["seconds"].median(), runs["accuracy"].mean()
        for name in names:
            if name in seconds:
                ax.plot(seconds[name], accuracy[name], "o", label=name)
            else:
                ax.plot([], [], "o", label=name)
        ax.set(title=set_, xscale="log", xlabel="Fit time (s)", ylabel="Accuracy")
    handles, labels = axes.flat[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=3, fontsize="small"
    )
    return figure


def describe_runs(records: pd.DataFrame) -> str:
    """Describe the hardware, the versions and the arithmetic of the runs."""
    precisions = records.groupby("model")["precision"].unique()
    used = ", ".join(
        f"{MODEL_NAMES[model]} {' or '.join(sorted(names))}"
        for model, names in precisions.items()
    )
    return f"{describe_machine(records)} Arithmetic of the training: {used}."


# Speed


def write_speed(run: dict[str, Any]) -> None:
    """Record the rounds of a comparison: job, model, batch size, threads, seconds."""
    name = "-".join(str(run[key]) for key in ("job", "model", "batch_size", "threads"))
    write_run(SPEED / f"{name}.json", run)


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

    Each round is compared by itself, because a shared machine has good and bad minutes.
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
    """Compare the contenders: rows a second, and in brackets the ratio."""
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
    """Describe the machine of the comparisons, and the number of their rounds."""
    rounds = sorted({len(run["seconds"][PLAIN_LOOP]) for _, run in runs.iterrows()})
    return f"{' or '.join(map(str, rounds))} rounds; {describe_machine(runs)}"


def overhead_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Tabulate how much longer a fit takes than a bare loop of the same operations."""
    return pd.DataFrame(
        {
            "comparison": title(run),
            "overhead": f"{(1 / ratio(run, OURS, BARE_LOOP) - 1):+.1%}",
        }
        for _, run in runs.iterrows()
        if BARE_LOOP in run["seconds"]
    )


def spread_table(runs: pd.DataFrame) -> pd.DataFrame:
    """Tabulate how this package's ratio to the plain loop differs between rounds."""
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


# README.md


def filled(readme: str) -> str:
    """Return README.md with the tables and their circumstances between its marks."""
    runs, comparisons = read_records(), read_speed()
    parts = {
        "accuracy": (recipes_table(runs), describe_runs(runs)),
        "speed": (speed_table(comparisons), machine_of(comparisons)),
    }
    for mark, (table, description) in parts.items():
        begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->\n"
        before, rest = readme.split(begin)
        _, after = rest.split(end)
        lines = "\n".join(textwrap.wrap(description, 90))
        middle = f"{begin}\n{table_to_markdown(table)}\n{lines}\n\n{end}"
        readme = before + middle + after
    return readme


if __name__ == "__main__":
    path = DOCS.parent / "README.md"
    text = filled(path.read_text("utf-8"))
    with atomic_write(path, "w") as file:
        file.write(text)
