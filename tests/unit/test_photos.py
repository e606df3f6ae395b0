"""load_photo: one picture of any kind as an image."""

import os
import warnings

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageCms, ImageDraw, ImageFilter, ImageOps

from fmnist_sklearn.photos import load_photo

SHIRT = [(60, 40), (110, 40), (240, 40), (240, 80), (200, 80), (200, 160), (100, 160)]
SHIRT += [(100, 80), (60, 80)]  # 181 x 121 pixels
NAVY = (10, 10, 90)


def draw_shirt(mode="RGB", background="white", colour="navy", size=(300, 200)):
    picture = Image.new(mode, size, background)
    ImageDraw.Draw(picture).polygon(SHIRT, fill=colour)
    return picture


def cut_out(colour):
    return draw_shirt("RGBA", (0, 0, 0, 0), colour)


@pytest.fixture
def load(tmp_path):
    """Save a picture and load it with load_photo, which must not warn."""

    def save_and_load(picture, name="photo.png", image_shape=(1, 28, 28), **kwargs):
        settings = {key: kwargs.pop(key) for key in {"prepare"} & set(kwargs)}
        picture.save(tmp_path / name, **kwargs)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return load_photo(tmp_path / name, image_shape, **settings)

    return save_and_load


@pytest.fixture
def assert_blank(tmp_path):
    """Save a picture, and assert that load_photo finds nothing in it."""

    def assert_blank(picture, name="photo.png", **kwargs):
        picture.save(tmp_path / name, **kwargs)
        with pytest.warns(UserWarning, match=rf"{name}: no item of cloth") as record:
            image = load_photo(tmp_path / name)
        assert [warning.filename for warning in record] == [__file__]
        np.testing.assert_array_equal(image, np.zeros((1, 28, 28), dtype=np.uint8))

    return assert_blank


@pytest.fixture
def shirt(load):
    return load(draw_shirt())


def assert_alike(image, expected, tolerance=4):
    assert image.dtype == expected.dtype == np.uint8
    assert image.shape == expected.shape
    assert np.abs(image.astype(float) - expected).mean() < tolerance


# The item in any picture ------------------------------------------------------------


def test_dark_shirt_on_white(shirt):
    assert shirt.shape == (1, 28, 28)
    assert shirt.dtype == np.uint8
    assert shirt.flags.writeable
    assert shirt.max() == 255
    # Its longest edge fills the image, and it is in the middle of the other.
    lit = shirt[0] > 128
    assert lit.any(axis=0).all()
    assert np.flatnonzero(lit.any(axis=1)).tolist() == list(range(5, 23))
    assert (shirt[0, [0, 1, -2, -1]] == 0).all()
    # Sleeves above, none below.
    assert shirt[0, 7, 2] == 255
    assert shirt[0, 18, 2] == 0


def with_palette():
    picture = draw_shirt("L", 0, 1).convert("P")
    picture.putpalette([0, 0, 0, 0, 0, 128])
    return picture


def with_noise():
    """With uneven light and specks, too."""
    rng = np.random.default_rng(0)
    pixels = np.asarray(draw_shirt("L", 230, 40), dtype=float)
    pixels += np.linspace(-12, 12, 300) + rng.normal(0, 3, pixels.shape)
    pixels[3, 5] = pixels[190, 290] = 0
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def placed_elsewhere():
    picture = Image.new("RGB", (900, 1300), "white")
    picture.paste(draw_shirt(), (500, 100))
    return picture


def with_rounded_corners():
    picture = draw_shirt("RGBA", (150, 150, 150, 255), (0, 0, 0, 255))
    opaque = Image.new("L", picture.size, 0)
    box = (0, 0, picture.width - 1, picture.height - 1)
    ImageDraw.Draw(opaque).rounded_rectangle(box, 15, fill=255)
    picture.putalpha(opaque)
    return picture


LYING = draw_shirt().transpose(Image.Transpose.ROTATE_90)
EXIF = Image.Exif()
EXIF[0x0112] = 6  # taken with the camera turned: to be shown rotated clockwise
LAB = (ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"))


@pytest.mark.parametrize(
    "picture",
    [
        draw_shirt("RGB", "black", "white"),
        draw_shirt("RGB", (120, 120, 120), "black"),
        draw_shirt("L", 255, 200),
        draw_shirt("1", 1, 0),
        with_noise(),
        placed_elsewhere(),
        draw_shirt().crop((59, 39, 242, 162)),  # a margin of 1, which is no frame
        draw_shirt().resize((3000, 2000)),
        draw_shirt("RGBA", (255, 255, 255, 128), NAVY),
        draw_shirt("RGBA", (255, 255, 255, 200), (*NAVY, 200)),
        with_rounded_corners(),
    ],
)
def test_load_photo_of_the_same_item(load, shirt, picture):
    assert_alike(load(picture), shirt, tolerance=8)


@pytest.mark.parametrize(
    ("picture", "name", "kwargs"),
    [
        (with_palette(), "a.png", {"transparency": 0}),
        (LYING, "a.png", {"exif": EXIF}),
        (draw_shirt(), "a.jpg", {"quality": 60}),
        (draw_shirt().convert("CMYK"), "a.jpg", {"quality": 60}),
        (draw_shirt("L", 255, 0).resize((6300, 4200)), "a.jpg", {}),
        (draw_shirt(), "a.jpg", {"format": "png"}),
        (draw_shirt(), "a.jp2", {}),
        (ImageCms.profileToProfile(draw_shirt(), *LAB, outputMode="LAB"), "a.tiff", {}),
        pytest.param(
            *(draw_shirt().convert("YCbCr"), "a.tiff", {}),
            marks=pytest.mark.needs("pillow>=13"),
        ),
        (draw_shirt().convert("L"), "a.ppm", {}),
        # Of several pictures the first is used.
        (draw_shirt(), "a.png", {"append_images": [draw_shirt("RGB", "red")]}),
        (draw_shirt(), "a.mpo", {"append_images": [Image.new("L", (9, 9))]}),
        (
            draw_shirt("L", 255, 0),
            "a.gif",
            {"append_images": [Image.new("L", (300, 200))]},
        ),
    ],
)
def test_load_photo_of_any_format(load, shirt, picture, name, kwargs):
    several = {"save_all": True} if "append_images" in kwargs else {}
    assert_alike(load(picture, name, **kwargs, **several), shirt, tolerance=6)


GREY = np.asarray(draw_shirt("L", 250, 40)).astype(float)


@pytest.mark.parametrize(
    "levels",
    [
        GREY.astype(np.uint16),
        (GREY * 257).astype(">u2"),
        (GREY * 257).astype(np.int32),
        (GREY * 1000 - 90_000).astype(np.int32),
        GREY / 255,
        GREY / 255 * 1.02 - 0.01,  # as a filter leaves it
        GREY / 127.5 - 1,
        (GREY - GREY.mean()) / GREY.std(),
        (GREY - 128) * 2e36,
        np.where(GREY > 200, np.nan, GREY),
        np.where(GREY > 200, -np.inf, GREY / 255),
        (GREY * 1.6e7).astype(np.uint32),  # up to 4e9
    ],
)
def test_load_photo_of_levels_of_any_range(load, shirt, levels):
    kwargs = {}
    if levels.dtype == float:
        levels = levels.astype(np.float32)
    if levels.dtype == np.uint32:  # Pillow has no such mode, but TIFF has a tag
        levels, kwargs = levels.view(np.int32), {"tiffinfo": {339: 1}}
    assert_alike(load(Image.fromarray(levels), "photo.tiff", **kwargs), shirt)
    if levels.dtype == np.uint16:
        assert_alike(load(Image.fromarray(levels)), shirt)


def test_load_photo_of_a_line_drawing(load):
    picture = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(picture).line([(50, 80), (350, 80), (200, 380)], fill=0, width=4)
    image = load(picture.filter(ImageFilter.GaussianBlur(1)))
    lit = image[0] > 40
    assert lit[:, [0, -1]].any(axis=0).all()
    assert lit[[0, -1]].any(axis=1).all()


def test_load_photo_in_colour_and_other_shapes(load):
    red = draw_shirt("RGB", "black", "red")
    image = load(red, image_shape=(3, 32, 48))
    assert image.shape == (3, 32, 48)
    assert image[0].max() == 255
    assert image[1:].max() == 0
    assert (image[0].max(axis=0) > 128).sum() == 48  # 181 x 121 is as wide as 48 x 32
    tall = load(red, image_shape=(3, 56, 28))
    assert np.flatnonzero(tall[0].max(axis=1) > 128).tolist() == list(range(19, 37))


# Nothing to be found ----------------------------------------------------------------


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_load_photo_of_a_blank_picture(assert_blank, shade):
    assert_blank(Image.new("L", (30, 20), shade))
    assert_blank(Image.new("RGB", (1, 1), (shade, 0, 255)))
    assert_blank(Image.new("L", (1, 40), shade))
    assert_blank(Image.new("RGBA", (40, 2), (shade, shade, shade, 0)))
    assert_blank(Image.new("RGBA", (40, 40), (shade, shade, shade, 9)))
    assert_blank(Image.new("I;16", (40, 40), shade * 257))
    assert_blank(Image.new("F", (40, 40), shade / 255), "photo.tiff")
    assert_blank(Image.new("F", (40, 30), np.nan), "photo.tiff")


@pytest.mark.parametrize(("shade", "noise"), [(4, 12), (128, 4), (128, 12), (250, 1)])
def test_load_photo_of_noise_specks_and_shading(assert_blank, shade, noise):
    rng = np.random.default_rng(0)
    pixels = rng.normal(shade, noise, (240, 320)).clip(0, 255).astype(np.uint8)
    assert_blank(Image.fromarray(pixels), "photo.jpg", quality=75)
    pixels[200, 30] = pixels[7, 300] = 255 - shade
    assert_blank(Image.fromarray(pixels))
    shading = np.linspace(90, 230, 300) * np.linspace(0.9, 1, 200)[:, None]
    assert_blank(Image.fromarray(shading.astype(np.uint8)))
    noise = np.random.default_rng(0).integers(256, size=(150, 150, 3), dtype=np.uint8)
    assert_blank(Image.fromarray(noise))


@pytest.mark.parametrize("contrast", [20, 60])
def test_load_photo_finds_a_faint_or_small_item(load, contrast):
    pixels = np.random.default_rng(0).normal(200, contrast / 10, (240, 320))
    pixels[60:180, 100:220] -= contrast
    image = load(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    assert image[0, 8:20, 8:20].min() > 100
    picture = Image.new("L", (1000, 1000), 255)
    picture.paste(0, (500, 500, 512, 512))
    assert load(picture).min() > 200


def test_load_photo_of_extreme_proportions(load):
    thin = Image.new("L", (600, 9), 255)
    thin.paste(0, (0, 4, 600, 5))
    assert load(thin)[0].any(axis=0).all()
    for size in ((1, 60), (60, 1), (2, 60), (3000, 2)):
        item = Image.new("L", size, 255)
        item.paste(0, (0, 0, max(size[0] // 2, 1), max(size[1] // 2, 1)))
        assert load(item).any()


# Transparency -----------------------------------------------------------------------


@pytest.mark.parametrize("behind", [(0, 0, 0, 0), (255, 255, 255, 0), (9, 99, 9, 0)])
@pytest.mark.parametrize(
    "colour",
    [(0, 0, 0, 255), (243, 240, 246, 255), (255, 255, 255, 255), (0, 0, 0, 40)],
)
def test_cut_out_of_any_colour(load, shirt, behind, colour):
    picture = draw_shirt("RGBA", behind, colour)
    assert_alike(load(picture), shirt)
    assert_alike(load(picture, "photo.webp", lossless=True), shirt)
    trimmed = picture.crop((60, 40, 241, 161))  # opaque along most of its border
    assert_alike(load(trimmed), shirt)
    image = load(picture, image_shape=(3, 28, 28))
    assert_alike(image.max(axis=0, keepdims=True), shirt)


@pytest.mark.parametrize("shade", [0, 255])
def test_cut_out_by_transparency_of_other_kinds(load, shirt, shade):
    assert_alike(load(draw_shirt("LA", (0, 0), (shade, 255))), shirt)
    picture = cut_out((shade, shade, shade, 255))
    assert_alike(load(picture.quantize(4)), shirt)
    assert_alike(load(picture, "photo.gif"), shirt)
    key = (255, 0, 255)
    assert_alike(load(draw_shirt("RGB", key, (shade,) * 3), transparency=key), shirt)
    assert_alike(load(draw_shirt("L", 7, shade), transparency=7), shirt)
    levels = np.asarray(draw_shirt("L", 7, shade)).astype(np.uint16) * 257
    assert_alike(load(Image.fromarray(levels), transparency=7 * 257), shirt)
    # A print of the backdrop's shade leaves no hole.
    picture.paste((255 - shade, 255 - shade, 255 - shade, 255), (120, 60, 180, 120))
    image = load(picture)
    assert (image[shirt == 255] > 40).all()
    assert image[0, 11, 14] < 100
    assert image[0, 20, 14] == 255


# Frames -----------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["black", "red", (128, 128, 128), (200, 200, 200)])
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("background", ["white", (170, 170, 170)])
def test_thin_frame_is_neither_background_nor_item(
    load, shirt, assert_blank, background, width, colour
):
    picture = draw_shirt("RGB", background, "black")
    framed = ImageOps.expand(picture, width, fill=colour)
    assert_alike(load(framed), shirt)
    assert_alike(load(framed, "photo.jpg", quality=75), shirt, tolerance=7)
    within = picture.copy()
    ImageDraw.Draw(within).rectangle((0, 0, 299, 199), outline=colour, width=width)
    assert_alike(load(within), shirt)
    margin = ImageOps.expand(framed, 1, fill=background)
    assert_alike(load(margin), shirt)
    assert_blank(ImageOps.expand(Image.new("RGB", (90, 90), background), width, colour))


def test_thin_frame_of_large_and_transparent_pictures(load, shirt):
    large = draw_shirt("L", 255, 0).resize((2400, 1600))
    assert_alike(load(ImageOps.expand(large, 5, fill=0)), shirt)
    white = cut_out((255, 255, 255, 255))
    assert_alike(load(ImageOps.expand(white, 2, fill=(0, 0, 0, 255))), shirt)
    pasted = draw_shirt("RGBA", "white", "navy")
    assert_alike(load(ImageOps.expand(pasted, 1, fill=(0, 0, 0, 0))), shirt)


# Files that cannot be read ----------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    ],
)
def test_load_photo_of_other_files(monkeypatch, tmp_path, content):
    def run_other_program(*args, **kwargs):
        pytest.fail("a picture must not start another program")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run_other_program)
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    reason = "such as HEIC, .* convert it to PNG" if content else "the file is empty"
    with pytest.raises(
        ValueError, match=rf"photo\.jpg cannot be read as a picture: .*{reason}"
    ):
        load_photo(path)


@pytest.mark.parametrize(
    "name", ["cut.png", "cut.jpg", "cut.gif", "cut.webp", "cut.tiff"]
)
def test_load_photo_of_damaged_files(tmp_path, load, name):
    load(draw_shirt(), name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{name} cannot be read as a picture: .+"):
        load_photo(str(tmp_path / name))


def test_load_photo_of_paths_that_are_no_files(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_photo(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError):
        load_photo(tmp_path)
    os.mkfifo(tmp_path / "photo.png")
    with pytest.raises(OSError, match="is not a regular file"):
        load_photo(tmp_path / "photo.png")


# The whole picture ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 20, 48), (1, 5, 1)])
def test_resize_keeps_a_picture_of_the_right_size(load, shape):
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    last = pixels.transpose(1, 2, 0)
    picture = Image.fromarray(last[..., 0] if shape[0] == 1 else last)
    image = load(picture, image_shape=shape, prepare="resize")
    np.testing.assert_array_equal(image, pixels)


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (4200, 90), (1, 40)])
def test_resize_keeps_colours_and_background(load, size):
    picture = Image.new("RGB", size, (200, 30, 90))
    image = load(picture, image_shape=(3, 32, 32), prepare="resize")
    assert image.dtype == np.uint8
    expected = np.full((32, 32, 3), (200, 30, 90)).transpose(2, 0, 1)
    np.testing.assert_array_equal(image, expected)
    grey = load(picture, prepare="resize")
    assert np.unique(grey).tolist() == [88]


def test_resize_shows_the_whole_picture_upright(load):
    settings = {"image_shape": (1, 20, 30), "prepare": "resize"}
    image = load(draw_shirt(), **settings)
    assert image[0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [255] * 4
    assert image[0, 6, 12] < 20
    assert_alike(load(LYING, exif=EXIF, **settings), image, tolerance=1)


def test_resize_keeps_the_short_side_of_a_panorama(load):
    stripes = np.zeros((64, 6400), dtype=np.uint8)
    stripes[::2] = 255  # would be grey, were the short side reduced with the long
    stripes[32:] = 0
    image = load(Image.fromarray(stripes), image_shape=(1, 64, 64), prepare="resize")
    assert np.array_equal(image[0, :, 5], stripes[:, 5])


def test_resize_makes_transparent_pixels_white(load):
    clear = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    assert load(clear, image_shape=(3, 8, 8), prepare="resize").min() == 255
    half = Image.new("LA", (50, 50), (0, 128))
    assert np.unique(load(half, prepare="resize")).tolist() == [127]
    levels = np.full((28, 28), 65535, dtype=np.uint16)
    levels[:14] = 0
    image = load(Image.fromarray(levels), prepare="resize")
    assert np.unique(image).tolist() == [0, 255]


# User-supplied preparations ---------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 4, 6), (4, 6, 1), (4, 6)])
def test_prepare_may_return_an_array(load, shape):
    pixels = np.arange(24, dtype=np.uint8).reshape(shape)
    settings = {"image_shape": (1, 4, 6), "prepare": lambda picture: pixels}
    assert load(draw_shirt(), **settings).flatten().tolist() == list(range(24))


@pytest.mark.parametrize(
    "result",
    [np.zeros((4, 6)), np.zeros((6, 4), np.uint8), Image.new("RGB", (6, 4)), 3],
)
def test_prepare_that_returns_something_else(load, result):
    message = r"prepare returned .* expected uint8 of shape"
    with pytest.raises(ValueError, match=message):
        load(draw_shirt(), image_shape=(1, 4, 6), prepare=lambda picture: result)


# Memory -----------------------------------------------------------------------------


def test_load_photo_refuses_what_would_fill_the_memory(monkeypatch, load):
    with pytest.raises(ValueError, match=r"9000 x 9000 .* 972 MB .* smaller first"):
        load(Image.new("1", (9000, 9000)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"photo\.png cannot be read .*\(60000 pixels"):
        load(draw_shirt())


AVIF = pytest.param("a.avif", marks=pytest.mark.needs("pillow>=11.3"))


@pytest.mark.parametrize("name", ["a.jp2", "a.webp", AVIF])
def test_load_photo_allows_fewer_pixels_in_some_formats(load, name, monkeypatch):
    picture = Image.new("RGB", (200, 200), "red")
    load(picture, name, prepare="resize")
    monkeypatch.setattr("fmnist_sklearn.photos.picture._MAX_MEMORY", 500_000)
    with pytest.raises(ValueError, match=f"{name} cannot be read .* smaller first"):
        load(picture, name, prepare="resize")


def test_load_photo_decodes_a_large_jpeg_at_a_fraction(load, monkeypatch):
    picture = Image.new("L", (5000, 5000), 99)
    monkeypatch.setattr("fmnist_sklearn.photos.picture._MAX_MEMORY", 5_000_000)
    image = load(picture, "a.jpg", prepare="resize")
    assert np.unique(image).tolist() == [99]
    monkeypatch.setattr("fmnist_sklearn.photos.picture._MAX_MEMORY", 120_000_000)
    with pytest.raises(ValueError, match=r"progressive\.jpg .* 150 MB"):
        load(picture, "progressive.jpg", prepare="resize", progressive=True)
