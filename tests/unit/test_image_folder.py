"""load_image_folder and ImageReader: many pictures as images of one shape."""

import os
import pickle
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from PIL import Image, ImageDraw
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fmnist_sklearn import ImageReader, LeNet5Classifier, load_image_folder
from fmnist_sklearn.photos import load_photo
from fmnist_sklearn.photos.picture import memory_taken, read_photo


def corner(picture):
    """A preparation: the upper left corner of a picture, as it is."""
    return picture.crop((0, 0, 8, 8))


@pytest.fixture
def folder(tmp_path):
    """Pictures of many sizes, modes and formats in three classes, and other files."""
    rng = np.random.default_rng(0)
    modes = ["RGB", "L", "RGBA", "P", "1", "CMYK", "I;16"]
    for label, shade in (("bag", 30), ("coat", 120), ("shoe", 220)):
        (tmp_path / label / "more").mkdir(parents=True)
        for i, mode in enumerate(modes):
            width, height = rng.integers(9, 70, 2)
            picture = Image.new("L", (width, height), shade)
            if mode == "I;16":
                levels = np.full((height, width), shade * 257, dtype=np.uint16)
                picture = Image.fromarray(levels)
            elif mode != "L":
                picture = picture.convert("RGB").convert(mode)
            ending = "jpg" if mode in ("CMYK", "L") else "png"
            inner = "more" if i == 2 else ""
            picture.save(tmp_path / label / inner / f"{i}.{ending}")
        (tmp_path / label / "notes.txt").write_text("not a picture")
        (tmp_path / label / ".hidden.png").write_text("hidden")
    (tmp_path / ".cache").mkdir()
    return tmp_path


@pytest.fixture
def broken(folder):
    """The folder with three more files that are not pictures, and an empty class."""
    (folder / "bag" / "empty.png").touch()
    (folder / "coat" / "text.jpg").write_text("hello")
    content = (folder / "shoe" / "0.png").read_bytes()
    (folder / "shoe" / "cut.png").write_bytes(content[:60])
    (folder / "none").mkdir()
    return folder


@pytest.fixture
def paths(folder):
    return sorted(str(path) for path in folder.glob("*/*.*g") if path.name[0] != ".")


# load_image_folder ------------------------------------------------------------------


@pytest.mark.parametrize("n_jobs", [1, 4])
def test_folder_of_classes(folder, n_jobs):
    photos = load_image_folder(folder, n_jobs=n_jobs, progress=False)
    assert photos.images.shape == (21, 3, 32, 32)
    assert photos.images.dtype == np.uint8
    assert np.shares_memory(photos.images, photos.data)
    assert photos.data.shape == (21, 3072)
    assert photos.target_names.tolist() == ["bag", "coat", "shoe"]
    assert photos.target.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    assert photos.left_out == []
    for name, image, number in zip(
        photos.filenames, photos.images, photos.target, strict=True
    ):
        assert Path(name).is_relative_to(folder / photos.target_names[number])
        assert np.array_equal(image, load_photo(name, (3, 32, 32), prepare="resize"))
    means = [photos.images[photos.target == k].mean() for k in range(3)]
    assert np.all(np.diff(means) > 30)
    assert "21 pictures in 3 classes" in photos.DESCR


def test_paths_with_labels(folder):
    whole = load_image_folder(folder, image_shape=(1, 12, 10))
    paths = [Path(name) for name in whole.filenames][::-1]
    labels = whole.target_names[whole.target][::-1]
    photos = load_image_folder(paths, labels, image_shape=(1, 12, 10), n_jobs=1)
    assert np.array_equal(photos.images, whole.images[::-1])
    assert np.array_equal(photos.target, whole.target[::-1])
    assert photos.filenames.tolist() == [str(path) for path in paths]
    numbers = load_image_folder(paths[:3], [7, 5, 7], class_names=[7, 6, 5])
    assert numbers.target.tolist() == [0, 2, 0]
    with pytest.raises(ValueError, match="class_names lacks the labels b"):
        load_image_folder(["1.png", "2.png"], ["a", "b"], class_names=["a"])
    for labels, message in [
        (None, "need labels .*got none"),
        ([1], r"shape \(2,\), got .* shape \(1,\)"),
    ]:
        with pytest.raises(ValueError, match=message):
            load_image_folder(["a.png", "b.png"], labels)


@pytest.mark.parametrize(
    "labels",
    [
        ["a", None, "b", float("nan")],
        np.array(["a", np.nan, "b", None], dtype=object),
        pd.Series([0, None, 1, None], dtype="Int64"),
        pd.Series([0.0, np.nan, 1.0, np.nan]),
        pd.Series(["a", pd.NA, "b", None], dtype="string"),
        pd.Series(["a", pd.NaT, "b", None], index=list("wxyz"), dtype="category"),
        pd.Categorical(["a", None, "b", None]),
        np.array(["2020", "NaT", "2021", "NaT"], dtype="datetime64[D]"),
        np.ma.array([0, 1, 0, 1], mask=[False, True, False, True]),
        pl.Series(["a", None, "b", None]),
    ],
)
@pytest.mark.parametrize("class_names", [None, ["a", "b"]])
def test_missing_labels(labels, class_names):
    expected = (
        r"2 of the 4 labels are missing \(None or NaN\); rows, counted from 0: 1; 3"
    )
    with pytest.raises(ValueError, match=expected):
        load_image_folder(list("1234"), labels, class_names=class_names)


def test_class_names_number_the_classes(folder):
    photos = load_image_folder(folder, class_names=["shoe", "bag"])
    assert photos.target_names.tolist() == ["shoe", "bag"]
    first = {Path(name).relative_to(folder).parts[0] for name in photos.filenames[:7]}
    assert first == {"shoe"}
    with pytest.raises(ValueError, match="no sub-folder with pictures for hat of clas"):
        load_image_folder(folder, class_names=["shoe", "hat"])


def test_allow_empty(folder):
    """A test folder without some classes of the training folder."""
    (folder / "hat").mkdir()
    names = np.array(["bag", "coat", "hat", "ring", "shoe"])
    with pytest.raises(ValueError, match=r"for hat, ring of .*; allow_empty=True ac"):
        load_image_folder(folder, class_names=names)
    photos = load_image_folder(folder, class_names=names, allow_empty=True)
    assert photos.target_names.tolist() == names.tolist()
    assert photos.target.tolist() == [0] * 7 + [1] * 7 + [4] * 7
    with pytest.warns(UserWarning, match="shoe: this folder is not in class_names"):
        photos = load_image_folder(folder, class_names=names[:4], allow_empty=True)
    assert photos.target.tolist() == [0] * 7 + [1] * 7
    photos = load_image_folder(folder, allow_empty=True)
    assert photos.target_names.tolist() == ["bag", "coat", "hat", "shoe"]


def test_folders_of_systems_are_skipped(folder):
    picture = (folder / "bag" / "0.png").read_bytes()
    for name in (".ipynb_checkpoints", "__MACOSX", "@eaDir", "$RECYCLE.BIN"):
        for where in (folder, folder / "bag", folder / "bag" / "more"):
            (where / name / "bag").mkdir(parents=True)
            (where / name / "bag" / "0.png").write_bytes(picture)
    photos = load_image_folder(folder)
    assert photos.target_names.tolist() == ["bag", "coat", "shoe"]
    assert np.bincount(photos.target).tolist() == [7, 7, 7]


def test_linked_folders_are_followed(folder, tmp_path_factory):
    store = tmp_path_factory.mktemp("store")
    (folder / "bag").rename(store / "bags")
    (folder / "shoe" / "more").rename(store / "shoes")
    (folder / "bag").symlink_to(store / "bags")
    (folder / "shoe" / "linked").symlink_to(store / "shoes")
    (folder / "shoe" / "linked again").symlink_to(store / "shoes")
    (store / "shoes" / "loop").symlink_to(folder / "shoe")
    (store / "shoes" / "up").symlink_to(folder)
    (folder / "all").symlink_to(folder)
    photos = load_image_folder(folder)
    assert photos.target_names.tolist() == ["bag", "coat", "shoe"]
    assert np.bincount(photos.target).tolist() == [7, 7, 7]
    assert f"{folder}/shoe/linked/2.png" in photos.filenames
    (folder / "hat").symlink_to("gone")
    (folder / "coat" / "others").symlink_to("gone")
    with pytest.warns(UserWarning, match="left out 0 of the 21"):
        photos = load_image_folder(folder)
    assert len(photos.left_out) == 2
    assert photos.left_out[0] == f"{folder}/coat/others: this link leads nowhere"
    assert f"{folder}/hat" in photos.left_out[1]


def test_names_of_classes_are_composed(tmp_path):
    composed, decomposed = "Caf\u00e9", "Cafe\u0301"
    for number, name in enumerate(["Bar", composed, decomposed]):
        (tmp_path / name).mkdir()
        Image.new("L", (9, 9)).save(tmp_path / name / f"{number}.png")
    photos = load_image_folder(tmp_path)
    assert photos.target_names.tolist() == ["Bar", composed]
    assert photos.target.tolist() == [0, 1, 1]
    photos = load_image_folder(tmp_path, class_names=[decomposed])
    assert photos.target_names.tolist() == [composed]
    assert len(photos.images) == 2
    assert all(Path(name).exists() for name in photos.filenames)


def test_prepare_by_a_function(folder):
    photos = load_image_folder(folder, image_shape=(3, 8, 8), prepare=corner)
    assert len(photos.images) == 21
    assert "'corner'" in photos.DESCR
    image = load_photo(photos.filenames[0], (3, 8, 8), prepare=corner)
    assert (image == 30).all()
    assert np.array_equal(image, photos.images[0])


def test_prepare_clothing_leaves_blank_pictures_out(tmp_path):
    paths = [str(tmp_path / "a.png"), str(tmp_path / "b.png")]
    picture = Image.new("RGB", (90, 90), "white")
    picture.save(paths[1])
    ImageDraw.Draw(picture).rectangle((30, 30, 60, 60), "navy")
    picture.save(paths[0])
    settings = {"image_shape": (1, 28, 28), "prepare": "clothing"}
    with pytest.warns(UserWarning, match=r"b\.png: no item of clothing found"):
        photos = load_image_folder(paths, [0, 1], **settings)
    assert photos.filenames.tolist() == paths[:1]
    assert photos.images[0, 0, 14, 14] == 255
    with pytest.raises(ValueError, match="no item of clothing found"):
        ImageReader(**settings).transform(paths)


def test_on_error_warn_and_ignore(broken, recwarn):
    with pytest.warns(UserWarning, match="left out 3 of the 24 pictures") as caught:
        photos = load_image_folder(broken)
    assert [warning.filename for warning in caught] == [__file__]
    assert len(photos.left_out) == 4
    for name in ("empty.png", "text.jpg", "cut.png", "none: this folder contains no"):
        assert sum(name in message for message in photos.left_out) == 1
        assert name in str(caught[0].message)
    assert photos.target_names.tolist() == ["bag", "coat", "shoe"]
    assert photos.target.tolist() == [0] * 7 + [1] * 7 + [2] * 7
    quiet = load_image_folder(broken, on_error="ignore")
    assert quiet.left_out == photos.left_out
    assert np.array_equal(quiet.images, photos.images)
    assert len(recwarn) == 0


def test_on_error_warn_counts_many_files(tmp_path):
    paths = [tmp_path / f"{i}.png" for i in range(9)]
    Image.new("L", (9, 9)).save(paths[0])
    with pytest.warns(UserWarning, match=r"left out 8 of the 9 .*5\.png.* and 3 more$"):
        load_image_folder(paths, range(9))


def test_on_error_raise(broken, recwarn):
    with pytest.raises(ValueError, match="none: this folder contains no pictures"):
        load_image_folder(broken, on_error="raise")
    (broken / "none").rmdir()
    with pytest.raises(ValueError, match=r"empty\.png cannot be read as a picture"):
        load_image_folder(broken, on_error="raise")
    assert len(recwarn) == 0


def test_folder_without_classes(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_image_folder(tmp_path / "missing")
    with pytest.raises(ValueError, match="expected a sub-folder for each class"):
        load_image_folder(tmp_path)
    Image.new("L", (9, 9)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="or pass a list of pictures and labels"):
        load_image_folder(tmp_path)
    for part in ("train", "Test"):
        (tmp_path / part).mkdir()
        Image.new("L", (9, 9)).save(tmp_path / part / "a.png")
    expected = f"parts, not classes: load {tmp_path}/Test and {tmp_path}/train sep"
    with pytest.raises(ValueError, match=expected):
        load_image_folder(tmp_path)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"labels": [1]}, "labels belong to a sequence of pictures"),
        ({"image_shape": (32, 32)}, r"\(channels, height, width\) .* got \(32, 32\)"),
        ({"image_shape": (2, 32, 32)}, "1 channel for grey or 3 for RGB"),
        ({"prepare": "crop"}, "'clothing', 'resize' or a function, got 'crop'"),
        ({"on_error": "skip"}, "'warn', 'ignore' or 'raise', got 'skip'"),
    ],
)
def test_load_image_folder_with_invalid_parameters(folder, kwargs, message):
    with pytest.raises(ValueError, match=message):
        load_image_folder(folder, **kwargs)


def test_memory_makes_threads_wait(monkeypatch):
    monkeypatch.setattr("fmnist_sklearn.photos.picture._SHARED", 100)
    most, now, lock = 0, 0, threading.Lock()

    def take(n_bytes):
        nonlocal most, now
        for _ in range(50):
            with memory_taken(n_bytes):
                with lock:
                    now += min(n_bytes, 100)
                    most = max(most, now)
                with lock:
                    now -= min(n_bytes, 100)

    threads = [threading.Thread(target=take, args=(n,)) for n in (40, 60, 70, 1000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=20)
        assert not thread.is_alive()
    assert most <= 100
    with pytest.raises(RuntimeError), memory_taken(100):
        raise RuntimeError
    with memory_taken(100):
        pass


# ImageReader ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "container",
    [
        list,
        lambda paths: np.array(paths, dtype=object)[:, None],
        pd.Series,
        lambda paths: pd.DataFrame({"path": paths}),
        lambda paths: pl.DataFrame({"path": paths}),
    ],
)
def test_image_reader_takes_any_container(paths, container):
    reader = ImageReader(image_shape=(1, 8, 8)).fit(container(paths))
    images = reader.transform(container(paths))
    expected = [load_photo(path, (1, 8, 8), prepare="resize") for path in paths]
    assert np.array_equal(images, expected)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("a.png", "several paths .*'a.png': put one path into a list"),
        ([1, 2], r"str or pathlib.Path, .* got an array of shape \(2,\): \[1 2\]"),
        (np.zeros((3, 784)), r"an array of shape \(3, 784\)"),
    ],
)
def test_image_reader_refuses_other_input(X, message):
    for call in (ImageReader().fit, ImageReader().transform):
        with pytest.raises(TypeError, match=message):
            call(X)


def test_image_reader_as_a_transformer(paths):
    reader = ImageReader((3, 16, 16), prepare=corner, layout="rows", n_jobs=2)
    assert clone(reader).get_params() == reader.get_params()
    reader.set_params(image_shape=(3, 8, 8))
    again = pickle.loads(pickle.dumps(reader))
    rows = again.transform(paths)
    assert rows.shape == (len(paths), 192)
    frame = reader.set_output(transform="pandas").transform(paths)
    assert frame.columns.tolist() == reader.get_feature_names_out().tolist()
    assert frame.columns[0] == "pixel1"
    assert np.array_equal(frame, rows)
    with pytest.raises(ValueError, match="Must pass 2-d input"):
        reader.set_params(layout="images").transform(paths)
    with pytest.raises(ValueError, match="layout must be"):
        ImageReader(layout="flat").fit(paths)


def test_image_reader_in_a_pipeline(folder, paths, quick):
    y = [Path(path).parent.name for path in paths]
    settings = quick | {"batch_size": 4, "validation_fraction": 0.3}
    pipeline = make_pipeline(ImageReader((3, 16, 16)), LeNet5Classifier(**settings))
    fitted = pickle.loads(pickle.dumps(pipeline.fit(paths, y)))
    assert np.array_equal(fitted.predict(paths), pipeline.predict(paths))
    assert fitted[-1].image_shape_ == (3, 16, 16)
    rows = make_pipeline(ImageReader((1, 8, 8), layout="rows"), LogisticRegression())
    assert cross_val_score(rows, np.array(paths), y, cv=2).mean() > 0.6
    broken = folder / "bag" / "broken.png"
    broken.touch()
    with pytest.raises(ValueError, match=r"broken\.png cannot be read as a picture"):
        pipeline.predict([*paths, broken])


@pytest.mark.parametrize("layout", ["images", "rows"])
def test_image_reader_in_a_pipeline_with_memory(tmp_path, quick, monkeypatch, layout):
    """Pictures that were replaced under the same names are read again."""
    paths = [str(tmp_path / f"{name}{i}.png") for name in "ab" for i in range(8)]
    y = ["a"] * 8 + ["b"] * 8
    read = []

    def count(path, *rest):
        read.append(path)
        return read_photo(path, *rest)

    def draw(colours, time):
        for path, colour in zip(paths, colours, strict=True):
            Image.new("RGB", (20, 20), colour).save(path)
            os.utime(path, ns=(time, time))

    def fit(memory):
        read.clear()
        settings = quick | {"batch_size": 4, "validation_fraction": 0.5}
        reader = ImageReader((3, 16, 16), layout=layout, n_jobs=1)
        steps = [reader, LeNet5Classifier(**settings, memory=memory)]
        if layout == "rows":
            steps = [reader, StandardScaler(), LogisticRegression()]
        return make_pipeline(*steps, memory=memory).fit(paths, y)

    def assert_fit_is_fresh():
        cached, fresh = fit(memory), fit(None)
        assert np.array_equal(cached.predict_proba(paths), fresh.predict_proba(paths))

    monkeypatch.setattr("fmnist_sklearn.photos.folder.read_photo", count)
    memory = str(tmp_path / "fits")
    draw(["navy"] * 8 + ["pink"] * 8, 0)
    assert_fit_is_fresh()
    fit(memory)
    assert read == []
    draw(["pink"] * 8 + ["navy"] * 8, 1)  # files of the same size
    assert_fit_is_fresh()
    draw(["navy"] * 8 + ["pink"] * 8, 0)
    for first, second in zip(
        paths[:8], paths[8:], strict=True
    ):  # at the same time, too
        os.rename(first, first + "x")
        os.rename(second, first)
        os.rename(first + "x", second)
    assert_fit_is_fresh()
    some = fit(None)[0].fit_transform(paths)[:3]
    os.remove(paths[0])
    assert np.array_equal(pickle.loads(pickle.dumps(some)), some)
    with pytest.raises(ValueError, match=r"a0\.png: No such file"):
        fit(memory)
