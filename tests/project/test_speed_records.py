"""The speed comparisons: timed in turn in processes, recorded, told as they are."""

import pytest

from . import ROOT


@pytest.fixture
def run(scripts):
    """A comparison of three rounds, the second of them in a bad minute."""
    records = scripts("speed_records")
    return {
        "job": "training",
        "model": "lenet5",
        "batch_size": 64,
        "threads": 2,
        "rows": 100,
        "seconds": {
            records.PLAIN_LOOP: [1.0, 4.0, 1.0],
            records.OURS: [0.5, 1.0, 0.4],
            records.BARE_LOOP: [0.4, 1.0, 0.4],
        },
    }


def test_readme_holds_the_tables_of_the_records(scripts):
    readme = (ROOT / "README.md").read_text("utf-8")
    assert scripts("readme_tables").filled(readme) == readme


def test_ratios_are_taken_round_by_round(scripts, run):
    records = scripts("speed_records")
    assert records.ratio(run, records.OURS) == pytest.approx(2.5)
    assert records.ratio(run, records.PLAIN_LOOP) == 1
    table = records.rates(run).set_index("contender")
    assert table.loc[records.OURS, "rows/s"] == 200
    assert table.loc[records.OURS, "highest"] == pytest.approx(250)


def test_records_come_back_in_their_order(scripts, run, tmp_path, monkeypatch):
    records = scripts("speed_records")
    monkeypatch.setattr(records, "SPEED", tmp_path)
    prediction = {**run, "job": "prediction", "batch_size": "best"}
    for each in (prediction, {**run, "batch_size": 128}, {**run, "threads": 1}, run):
        records.write_speed(each)
    runs = records.read_speed()
    assert runs["seconds"].iloc[0] == run["seconds"]
    table = records.speed_table(runs)
    assert table.columns.tolist() == [
        "contender",
        "LeNet5, batch 64, 2 threads",
        "LeNet5, batch 128, 2 threads",
        "LeNet5, batch 64, 1 thread",
        "LeNet5, predict, 2 threads",
    ]
    assert table.iloc[1, 1] == "200 (2.50)"
    overhead = records.overhead_table(runs)["overhead"]
    assert overhead.iloc[0] == "+0.0%"
    spread = records.spread_table(runs).iloc[0]
    assert spread[["lowest", "median", "highest"]].tolist() == ["2.00", "2.50", "4.00"]


class Recorded:
    """A contender whose job returns 1, 2, 3, ..."""

    def __call__(self):
        self.calls = 0
        return self.job

    def job(self):
        self.calls += 1
        return self.calls


class Missing:
    """A contender whose library is not installed."""

    def __call__(self):
        return None


def test_contenders_take_turns_after_a_first_run(scripts, capsys):
    time_in_turn = scripts("contenders").time_in_turn
    contenders = {"there": Recorded(), "not there": Missing()}
    assert time_in_turn(contenders, rounds=3, threads=1) == {"there": [2, 3, 4]}
    assert "not there: not installed, skipped" in capsys.readouterr().out
