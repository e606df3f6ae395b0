"""Paths of pictures in, images out: a step of a Pipeline."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags

from .reading import Prepare, as_paths, check_preparation, read_pictures


class ImageReader(TransformerMixin, BaseEstimator):
    """Read pictures of any size and format by their paths, as a step of a Pipeline.

    The preparation of the pictures is part of the model: a pipeline that was fitted on
    paths predicts from paths.

    Parameters
    ----------
    image_shape : tuple of int, default=(3, 32, 32)
        (channels, height, width) of the images: 1 channel for grey, 3 for RGB.
    prepare : {"resize", "clothing"} or callable, default="resize"
        How a picture becomes an image, as for :func:`load_image_folder`. Only a
        function that can be imported can be pickled with its pipeline.
    layout : {"images", "rows"}, default="images"
        "images" gives (n, channels, height, width), for the classifiers of this
        package; "rows" gives (n, channels * height * width), for those of scikit-learn
        and for data frames, which ``set_output`` selects.
    n_jobs : int, default=-1
        Number of reading threads, as in joblib; -1 is one for each core.
    progress : bool, default=False
        Whether to show a progress bar on stderr for 200 pictures and more, if that is
        a terminal.

    See Also
    --------
    load_image_folder : A folder with a sub-folder for each class, all at once.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from PIL import Image
    >>> from sklearn.pipeline import make_pipeline
    >>> from fmnist_sklearn import ImageReader, LeNet5Classifier
    >>> pipeline = make_pipeline(
    ...     ImageReader(image_shape=(3, 16, 16)),
    ...     LeNet5Classifier(max_epochs=1, patience=None),
    ... )
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     paths = [str(Path(folder, f"{i}.png")) for i in range(20)]
    ...     for i, path in enumerate(paths):
    ...         Image.new("RGB", (40, 30), "red" if i % 2 else "blue").save(path)
    ...     pipeline.fit(paths, ["blue", "red"] * 10).predict(paths).shape
    (20,)
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int] = (3, 32, 32),
        *,
        prepare: Prepare = "resize",
        layout: str = "images",
        n_jobs: int | None = -1,
        progress: bool = False,
    ) -> None:
        self.image_shape = image_shape
        self.prepare = prepare
        self.layout = layout
        self.n_jobs = n_jobs
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> ImageReader:
        """Check the parameters; there is nothing to learn.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1)
            Paths.
        y : None
            Ignored.

        Returns
        -------
        self
            The transformer.

        Raises
        ------
        ValueError
            For parameters out of range.
        TypeError
            If `X` does not hold paths.
        """
        check_preparation(self.image_shape, self.prepare)
        if self.layout not in ("images", "rows"):
            raise ValueError(f"layout must be 'images' or 'rows', got {self.layout!r}")
        as_paths(X)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Read pictures.

        Parameters
        ----------
        X : array-like of shape (n,) or (n, 1)
            Paths, in a list, an array or a column of a data frame.

        Returns
        -------
        ndarray of shape (n, channels, height, width) or (n, n_pixels), uint8
            The images, in the order of the paths.

        Raises
        ------
        ValueError
            For the first file that is not a picture, or shows no item of clothing to
            cut out: a step of a Pipeline cannot leave rows out, as
            :func:`load_image_folder` can. If ``set_output`` selects a data frame, which
            has two dimensions, with ``layout="images"``.
        TypeError
            If `X` does not hold paths.
        """
        self.fit(X)  # checks the parameters
        images, _ = read_pictures(
            as_paths(X),
            self.image_shape,
            self.prepare,
            n_jobs=self.n_jobs,
            progress=self.progress,
            stop=True,
        )
        return images if self.layout == "images" else images.reshape(len(images), -1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Name the pixels, in the order of rows.

        Parameters
        ----------
        input_features : None
            Ignored.

        Returns
        -------
        ndarray of shape (n_pixels,)
            "pixel1", "pixel2" and so on, as OpenML names them.
        """
        n_pixels = math.prod(self.image_shape)
        return np.array([f"pixel{i}" for i in range(1, n_pixels + 1)], dtype=object)

    def __sklearn_is_fitted__(self) -> bool:
        """Return True: there is nothing to learn."""
        return True

    def __sklearn_tags__(self) -> Tags:
        """Describe the transformer: paths in, nothing learnt."""
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.one_d_array = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = False
        tags.no_validation = True
        return tags
