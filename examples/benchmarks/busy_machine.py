"""Time a fit by one thread and by several, on an idle machine and on a busy one.

    python examples/benchmarks/busy_machine.py [--rows N] [--busy N] [--rounds N]

An epoch of LeNet5 on 1,800 images, in a process of its own for each row, in turn: by
one thread; by two that wait for each other as PyTorch has it, in a loop; and by two
that wait for 10,000 or 1,000 turns of that loop, or none, and then sleep. First with
nothing else running, then with processes that compute. Medians of the rounds are
printed, and their ratios to one thread.
"""

import argparse
import os
import statistics
import subprocess
import sys
from contextlib import ExitStack

FIT = """
import sys, warnings, torch
from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample

torch.set_num_threads(int(sys.argv[1]))
warnings.simplefilter("ignore")
X, y = (v[: int(sys.argv[2])] for v in load_fashion_mnist_sample(return_X_y=True))
net = LeNet5Classifier(max_epochs=1, random_state=0, device="cpu").fit(X[:200], y[:200])
print(net.fit(X, y).fit_time_)
"""
BUSY = [sys.executable, "-c", "while True: pass"]
VARIABLES = {"OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
ROWS = {  # number of threads, variables
    "1 thread": ("1", {}),
    "2 threads": ("2", {}),
    "2 threads, GOMP_SPINCOUNT=10000": ("2", {"GOMP_SPINCOUNT": "10000"}),
    "2 threads, GOMP_SPINCOUNT=1000": ("2", {"GOMP_SPINCOUNT": "1000"}),
    "2 threads, GOMP_SPINCOUNT=0": ("2", {"GOMP_SPINCOUNT": "0"}),
}


def fit_time(n_threads, variables, n_rows):
    """Return the seconds of a fit in a process of its own."""
    others = {name: os.environ[name] for name in os.environ.keys() - VARIABLES}
    command = [sys.executable, "-c", FIT, n_threads, str(n_rows)]
    return float(subprocess.check_output(command, env=others | variables, text=True))


def main():
    """Measure all rows in turn and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1800)
    parser.add_argument("--busy", type=int, default=2, help="number of processes")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for n_busy in (0, args.busy):
        times = {name: [] for name in ROWS}
        with ExitStack() as others:
            for _ in range(n_busy):
                others.callback(subprocess.Popen(BUSY).kill)
            for _ in range(args.rounds):  # in turn: what disturbs one disturbs all
                for name, row in ROWS.items():
                    times[name].append(fit_time(*row, args.rows))
        print(f"{n_busy} other processes")
        for name, values in times.items():
            median = statistics.median(values)
            ratio = median / statistics.median(times["1 thread"])
            print(f"  {name:32} {median:7.2f} s  {ratio:6.2f} of one thread")


if __name__ == "__main__":
    main()
