import os
import warnings

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, ImageCms, ImageDraw, ImageFilter, ImageOps

from fmnist_sklearn import LeNet5Classifier, load_fashion_mnist_sample
from fmnist_sklearn.photos import load_photo

SHIRT = [(60, 40), (110, 40), (240, 40), (240, 80), (200, 80), (200, 160), (100, 160)]
SHIRT += [(100, 80), (60, 80)]  # 181 x 121 pixels


def draw_shirt(mode="RGB", background="white", colour="navy", size=(300, 200)):
    picture = Image.new(mode, size, background)
    ImageDraw.Draw(picture).polygon(SHIRT, fill=colour)
    return picture


@pytest.fixture
def load(tmp_path):
    """Save a picture and load it with load_photo, which must not warn."""

    def save_and_load(picture, name="photo.png", image_shape=(1, 28, 28), **kwargs):
        picture.save(tmp_path / name, **kwargs)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return load_photo(tmp_path / name, image_shape)

    return save_and_load


@pytest.fixture
def assert_blank(tmp_path):
    """Save a picture, and assert that load_photo says that it sees nothing."""

    def assert_blank(picture, name="photo.png", **kwargs):
        picture.save(tmp_path / name, **kwargs)
        with pytest.warns(
            UserWarning, match=rf"{name}: no item of clothing found"
        ) as told:
            image = load_photo(tmp_path / name)
        assert len(told) == 1
        assert told[0].filename == __file__
        np.testing.assert_array_equal(image, np.zeros((1, 28, 28), dtype=np.uint8))

    return assert_blank


@pytest.fixture
def shirt(load):
    return load(draw_shirt())


def assert_alike(image, expected, tolerance=4):
    assert image.dtype == expected.dtype == np.uint8
    assert image.shape == expected.shape
    assert np.abs(image.astype(float) - expected).mean() < tolerance


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


@pytest.mark.parametrize(
    ("mode", "background", "colour"),
    [
        ("RGB", "black", "white"),
        ("RGB", (150, 150, 150), "white"),
        ("RGB", (120, 120, 120), "black"),
        ("RGB", (230, 220, 215), (180, 20, 60)),
        ("L", 255, 200),
        ("1", 1, 0),
        ("RGBA", (0, 0, 0, 0), (20, 30, 40, 255)),
        ("LA", (0, 0), (90, 255)),
    ],
)
def test_any_background(load, shirt, mode, background, colour):
    assert_alike(load(draw_shirt(mode, background, colour)), shirt)


def test_transparent_palette(load, shirt):
    picture = draw_shirt("L", 0, 1).convert("P")
    picture.putpalette([0, 0, 0, 0, 0, 128])
    assert_alike(load(picture, transparency=0), shirt)


def test_sixteen_bits(load, shirt):
    levels = np.asarray(draw_shirt("L", 250, 100)).astype(np.uint16) * 256
    assert_alike(load(Image.fromarray(levels)), shirt)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg(load, shirt, mode):
    picture = draw_shirt().convert(mode)
    assert_alike(load(picture, "photo.jpg", quality=60), shirt, tolerance=6)


def test_place_and_size_do_not_matter(load, shirt):
    picture = Image.new("RGB", (900, 1300), "white")
    picture.paste(draw_shirt(), (500, 100))
    assert_alike(load(picture), shirt)
    assert_alike(load(draw_shirt().crop((59, 39, 242, 162))), shirt)
    assert_alike(load(draw_shirt().resize((3000, 2000))), shirt)


def test_noise_specks_and_uneven_light(load, shirt):
    rng = np.random.default_rng(0)
    pixels = np.asarray(draw_shirt("L", 230, 40), dtype=float)
    pixels += np.linspace(-12, 12, 300) + rng.normal(0, 3, pixels.shape)
    pixels[3, 5] = pixels[190, 290] = 0
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    assert_alike(load(picture), shirt, tolerance=8)


def test_line_drawing(load):
    picture = Image.new("L", (400, 400), 255)
    ImageDraw.Draw(picture).line([(50, 80), (350, 80), (200, 380)], fill=0, width=4)
    image = load(picture.filter(ImageFilter.GaussianBlur(1)))
    lit = image[0] > 40
    assert lit[:, [0, -1]].any(axis=0).all()
    assert lit[[0, -1]].any(axis=1).all()


def test_exif_orientation(load, shirt):
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned: to be shown rotated clockwise
    lying = draw_shirt().transpose(Image.Transpose.ROTATE_90)
    assert_alike(load(lying, exif=exif), shirt)


def test_colour_and_other_shapes(load):
    image = load(draw_shirt("RGB", "black", "red"), image_shape=(3, 32, 48))
    assert image.shape == (3, 32, 48)
    assert image[0].max() == 255
    assert image[1:].max() == 0
    assert (image[0].max(axis=0) > 128).sum() == 48  # 181 x 121 is as wide as 48 x 32
    tall = load(draw_shirt("RGB", "black", "red"), image_shape=(3, 56, 28))
    assert np.flatnonzero(tall[0].max(axis=1) > 128).tolist() == list(range(19, 37))


def test_image_shape_is_checked(load):
    with pytest.raises(ValueError, match=r"1 channel for grey or 3 .*\(4, 28, 28\)"):
        load(draw_shirt(), image_shape=(4, 28, 28))


# What cannot be seen -----------------------------------------------------------------


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_blank_picture(assert_blank, shade):
    assert_blank(Image.new("L", (30, 20), shade))
    assert_blank(Image.new("RGB", (1, 1), (shade, 0, 255)))
    assert_blank(Image.new("L", (1, 40), shade))
    assert_blank(Image.new("RGBA", (40, 2), (shade, shade, shade, 0)))
    assert_blank(Image.new("RGBA", (40, 40), (shade, shade, shade, 9)))
    assert_blank(Image.new("I;16", (40, 40), shade * 257))
    assert_blank(Image.new("F", (40, 40), shade / 255), "photo.tiff")


@pytest.mark.parametrize("shade", [4, 128, 250])
@pytest.mark.parametrize("noise", [1, 4, 12])
def test_noise_and_specks_are_no_article(assert_blank, shade, noise):
    rng = np.random.default_rng(0)
    pixels = rng.normal(shade, noise, (240, 320)).clip(0, 255).astype(np.uint8)
    assert_blank(Image.fromarray(pixels), "photo.jpg", quality=75)
    pixels[200, 30] = pixels[7, 300] = 255 - shade
    assert_blank(Image.fromarray(pixels))


def test_nothing_but_shading_or_noise(assert_blank):
    shading = np.linspace(90, 230, 300) * np.linspace(0.9, 1, 200)[:, None]
    assert_blank(Image.fromarray(shading.astype(np.uint8)))
    noise = np.random.default_rng(0).integers(256, size=(150, 150, 3), dtype=np.uint8)
    assert_blank(Image.fromarray(noise))


@pytest.mark.parametrize("contrast", [20, 60])
def test_a_faint_article_in_noise_is_seen(load, contrast):
    pixels = np.random.default_rng(0).normal(200, contrast / 10, (240, 320))
    pixels[60:180, 100:220] -= contrast
    image = load(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    assert image[0, 8:20, 8:20].min() > 100


def test_a_small_article_in_a_large_picture_is_seen(load):
    picture = Image.new("L", (1000, 1000), 255)
    picture.paste(0, (500, 500, 512, 512))
    assert load(picture).min() > 200


# Transparency ------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [(0, 0, 0, 0), (255, 255, 255, 0), (9, 99, 9, 0)])
@pytest.mark.parametrize(
    "colour",
    [
        (0, 0, 0, 255),
        (128, 128, 128, 255),
        (243, 240, 246, 255),
        (255, 255, 255, 255),
        (255, 255, 255, 90),
        (0, 0, 0, 40),
    ],
)
def test_a_cut_out_of_any_colour(load, shirt, behind, colour):
    cut_out = draw_shirt("RGBA", behind, colour)
    assert_alike(load(cut_out), shirt)
    assert_alike(load(cut_out, "photo.webp", lossless=True), shirt)
    trimmed = cut_out.crop((60, 40, 241, 161))  # opaque along most of its border
    assert_alike(load(trimmed), shirt)
    image = load(cut_out, image_shape=(3, 28, 28))
    assert_alike(image.max(axis=0, keepdims=True), shirt)


@pytest.mark.parametrize("shade", [0, 255])
def test_transparency_of_other_kinds(load, shirt, shade):
    assert_alike(load(draw_shirt("LA", (0, 0), (shade, 255))), shirt)
    cut_out = draw_shirt("RGBA", (0, 0, 0, 0), (shade, shade, shade, 255))
    assert_alike(load(cut_out.quantize(4)), shirt)
    assert_alike(load(cut_out, "photo.gif"), shirt)
    key = (255, 0, 255)
    assert_alike(load(draw_shirt("RGB", key, (shade,) * 3), transparency=key), shirt)
    assert_alike(load(draw_shirt("L", 7, shade), transparency=7), shirt)
    levels = np.asarray(draw_shirt("L", 7, shade)).astype(np.uint16) * 257
    assert_alike(load(Image.fromarray(levels), transparency=7 * 257), shirt)


@pytest.mark.parametrize("shade", [0, 255])
def test_a_print_of_the_backdrops_shade_leaves_no_hole(load, shirt, shade):
    cut_out = draw_shirt("RGBA", (0, 0, 0, 0), (shade, shade, shade, 255))
    print_shade = 255 - shade
    cut_out.paste((print_shade, print_shade, print_shade, 255), (120, 60, 180, 120))
    image = load(cut_out)
    assert (image[shirt == 255] > 40).all()
    assert image[0, 11, 14] < 100
    assert image[0, 20, 14] == 255


def test_half_transparent_backgrounds_and_layers(load, shirt):
    navy = (10, 10, 90)
    assert_alike(load(draw_shirt("RGBA", (255, 255, 255, 128), (*navy, 255))), shirt)
    assert_alike(load(draw_shirt("RGBA", (0, 0, 0, 100), (*navy, 255))), shirt)
    assert_alike(load(draw_shirt("RGBA", (255, 255, 255, 200), (*navy, 200))), shirt)
    assert_alike(load(draw_shirt("RGBA", (90, 90, 90, 255), (*navy, 255))), shirt)


def test_rounded_corners_are_background(load, shirt):
    picture = draw_shirt("RGBA", (150, 150, 150, 255), (0, 0, 0, 255))
    opaque = Image.new("L", picture.size, 0)
    box = (0, 0, picture.width - 1, picture.height - 1)
    ImageDraw.Draw(opaque).rounded_rectangle(box, 15, fill=255)
    picture.putalpha(opaque)
    assert_alike(load(picture), shirt)


# Frames ------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["black", "red", (128, 128, 128), (200, 200, 200)])
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("background", ["white", (170, 170, 170)])
def test_a_thin_frame_is_neither_background_nor_article(
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


def test_frames_of_large_and_transparent_pictures(load, shirt):
    large = draw_shirt("L", 255, 0).resize((2400, 1600))
    assert_alike(load(ImageOps.expand(large, 5, fill=0)), shirt)
    cut_out = draw_shirt("RGBA", (0, 0, 0, 0), (255, 255, 255, 255))
    assert_alike(load(ImageOps.expand(cut_out, 2, fill=(0, 0, 0, 255))), shirt)
    pasted = draw_shirt("RGBA", "white", "navy")
    assert_alike(load(ImageOps.expand(pasted, 1, fill=(0, 0, 0, 0))), shirt)


@pytest.mark.parametrize("margin", [1, 2, 3])
def test_a_narrow_margin_is_no_frame(load, shirt, margin):
    box = (60 - margin, 40 - margin, 241 + margin, 161 + margin)
    assert_alike(load(draw_shirt().crop(box)), shirt)


# Files -------------------------------------------------------------------------------

GREY = np.asarray(draw_shirt("L", 250, 40)).astype(float)


@pytest.mark.parametrize(
    "levels",
    [
        GREY.astype(np.uint16),
        (GREY * 16).astype(np.uint16),  # 12 bits
        (GREY * 257).astype(">u2"),
        GREY.astype(np.int32),
        (GREY * 257).astype(np.int32),
        (GREY * 8e6).astype(np.int32),
        (GREY * 1000 - 90_000).astype(np.int32),
        (GREY < 100).astype(np.int32),
        GREY / 255,
        GREY / 255 * 1.02 - 0.01,  # as a filter leaves it
        GREY / 127.5 - 1,
        (GREY - GREY.mean()) / GREY.std(),
        GREY,
        GREY * 257,
        GREY * 1e36,
        (GREY - 128) * 2e36,
        np.where(GREY > 200, np.nan, GREY),
        np.where(GREY > 200, -np.inf, GREY / 255),
    ],
)
def test_levels_of_any_range(load, shirt, levels):
    if levels.dtype == float:
        levels = levels.astype(np.float32)
    assert_alike(load(Image.fromarray(levels), "photo.tiff"), shirt)
    if levels.dtype == np.uint16:
        assert_alike(load(Image.fromarray(levels)), shirt)


def test_unsigned_levels_of_32_bits(load, shirt):
    levels = (GREY * 1.6e7).astype(np.uint32)  # up to 4e9
    picture = Image.fromarray(levels.view(np.int32))
    assert_alike(load(picture, "photo.tiff", tiffinfo={339: 1}), shirt)


def test_a_file_without_levels(assert_blank):
    levels = np.full((30, 40), np.nan, dtype=np.float32)
    assert_blank(Image.fromarray(levels), "photo.tiff")


@pytest.mark.parametrize(
    ("mode", "name", "kwargs"),
    [
        ("LAB", "photo.tiff", {}),
        ("YCbCr", "photo.tiff", {}),
        ("CMYK", "photo.tiff", {}),
        ("P", "photo.bmp", {}),
        ("L", "photo.ppm", {}),
        ("RGB", "photo.jp2", {}),
        ("RGB", "photo.jpg", {"format": "png"}),
        (
            "RGB",
            "photo.mpo",
            {"save_all": True, "append_images": [Image.new("L", (9, 9))]},
        ),
        (
            "P",
            "photo.gif",
            {"save_all": True, "append_images": [Image.new("P", (300, 200))]},
        ),
        (
            "RGB",
            "photo.png",
            {"save_all": True, "append_images": [draw_shirt("RGB", "red")]},
        ),
    ],
)
def test_kinds_of_files(load, shirt, mode, name, kwargs):
    picture = draw_shirt()
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        picture = ImageCms.profileToProfile(picture, *lab[::-1], outputMode="LAB")
    assert_alike(load(picture.convert(mode), name, **kwargs), shirt, tolerance=6)


def test_a_large_jpeg(load, shirt):
    picture = draw_shirt("L", 255, 0).resize((6300, 4200))
    assert_alike(load(picture, "photo.jpg"), shirt)


def test_extreme_proportions(load, assert_blank):
    thin = Image.new("L", (600, 9), 255)
    thin.paste(0, (0, 4, 600, 5))
    assert load(thin)[0].any(axis=0).all()
    assert_blank(Image.new("L", (1, 1), 255))
    for size in ((1, 60), (60, 1), (2, 60), (3000, 2)):
        article = Image.new("L", size, 255)
        article.paste(0, (0, 0, max(size[0] // 2, 1), max(size[1] // 2, 1)))
        assert load(article).any()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "unknown format; convert it to PNG or JPEG"),
        (b"\x89PNG\r\n\x1a\n", "unknown format; convert it to PNG"),
        (
            b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
            "HEIC is not supported; convert it",
        ),
        (
            b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic",
            "HEIC is not supported; convert it",
        ),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF|picture: "),
        (b"%PDF-1.7\n", "PDF is not supported; convert it"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG is not supp"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript is not"),
    ],
)
def test_files_that_are_no_pictures(monkeypatch, tmp_path, content, reason):
    def run_other_program(*args, **kwargs):
        pytest.fail("a picture must not start another program")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", run_other_program)
    path = tmp_path / "photo.jpg"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"photo\.jpg cannot be read as a picture: .*{reason}"
    ) as error:
        load_photo(path)
    assert "object at 0x" not in str(error.value)


@pytest.mark.parametrize(
    "name", ["cut.png", "cut.jpg", "cut.gif", "cut.webp", "cut.tiff"]
)
def test_damaged_files(tmp_path, load, name):
    load(draw_shirt(), name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{name} cannot be read as a picture: .+"):
        load_photo(tmp_path / name)


def test_too_large_a_picture_is_refused(monkeypatch, load):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(ValueError, match=r"photo\.png cannot be read .*\(60000 pixels"):
        load(draw_shirt())


def test_unreadable_files(tmp_path, load):
    path = tmp_path / "text.png"
    path.write_text("hello")
    with pytest.raises(ValueError, match=r"text\.png cannot be read as a picture"):
        load_photo(path)
    load(draw_shirt(), "cut.jpg")
    content = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"cut\.jpg cannot be read as a picture"):
        load_photo(str(tmp_path / "cut.jpg"))
    with pytest.raises(FileNotFoundError):
        load_photo(tmp_path / "missing.png")
    with pytest.raises(IsADirectoryError):
        load_photo(tmp_path)


@pytest.mark.parametrize("margin", [0, 70])
def test_pictures_of_real_articles_are_classified_as_the_articles(load, margin):
    X, y = load_fashion_mnist_sample(return_X_y=True)
    net = LeNet5Classifier(
        max_epochs=2, lr=0.01, lr_schedule="one_cycle", random_state=0
    ).fit(X[:2000], y[:2000])
    images = X[2000:2200].reshape(-1, 28, 28).astype(np.uint8)
    photos = []
    for image in images:
        enlarged = Image.fromarray(255 - image).resize((280, 280))
        photo = ImageOps.expand(enlarged, margin, fill=255)
        photos.append(load(photo, "photo.jpg", quality=90))
    agreement = net.predict(np.stack(photos)) == net.predict(images)
    assert agreement.mean() > 0.85


# The whole picture --------------------------------------------------------------------


def resized(tmp_path, picture, image_shape, name="photo.png", **kwargs):
    picture.save(tmp_path / name, **kwargs)
    return load_photo(tmp_path / name, image_shape, prepare="resize")


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (3, 20, 48), (1, 5, 1)])
def test_a_picture_of_the_right_size_keeps_its_pixels(tmp_path, shape):
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    last = pixels.transpose(1, 2, 0)
    picture = Image.fromarray(last[..., 0] if shape[0] == 1 else last)
    np.testing.assert_array_equal(resized(tmp_path, picture, shape), pixels)


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (4200, 90), (1, 40)])
def test_resizing_keeps_colours_and_background(tmp_path, size):
    picture = Image.new("RGB", size, (200, 30, 90))
    image = resized(tmp_path, picture, (3, 32, 32))
    assert image.shape == (3, 32, 32)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.full_like(image.T, (200, 30, 90)).T)
    grey = resized(tmp_path, picture, (1, 28, 28))
    assert np.unique(grey).tolist() == [88]


def test_resizing_shows_all_of_a_picture(tmp_path):
    picture = draw_shirt("RGB", "white", "black")
    image = resized(tmp_path, picture, (1, 20, 30))
    assert image[0, [0, 0, -1, -1], [0, -1, 0, -1]].tolist() == [255] * 4
    assert image[0, 6, 12] < 3
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = picture.transpose(Image.Transpose.ROTATE_90)
    upright = resized(tmp_path, lying, (1, 20, 30), exif=exif)
    assert_alike(upright, image, tolerance=1)


def test_what_is_transparent_is_white_when_resized(tmp_path):
    clear = Image.new("RGBA", (50, 50), (0, 0, 0, 0))
    assert resized(tmp_path, clear, (3, 8, 8)).min() == 255
    half = Image.new("LA", (50, 50), (0, 128))
    assert np.unique(resized(tmp_path, half, (1, 8, 8))).tolist() == [127]
    levels = np.full((40, 40), 65535, dtype=np.uint16)
    levels[:20] = 0
    image = resized(tmp_path, Image.fromarray(levels), (1, 40, 40))
    assert np.unique(image).tolist() == [0, 255]


def test_another_preparation_is_refused():
    with pytest.raises(ValueError, match="'resize' or a function, got 'crop'"):
        load_photo("photo.png", prepare="crop")


# Memory and devices -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["photo.png", "photo.gif", "photo.tiff"])
def test_a_picture_that_would_take_the_memory_is_not_decoded(tmp_path, name):
    Image.new("1", (9000, 9000)).save(tmp_path / name)
    with pytest.raises(ValueError, match=r"9000 x 9000 .* 972 MB .* smaller first"):
        load_photo(tmp_path / name)


@pytest.mark.parametrize("name", ["a.jp2", "a.webp", "a.avif"])
def test_what_takes_more_memory_may_have_fewer_pixels(tmp_path, name, monkeypatch):
    Image.new("RGB", (200, 200), "red").save(tmp_path / name)
    load_photo(tmp_path / name, prepare="resize")
    monkeypatch.setattr("fmnist_sklearn.photos.opening._MAX_MEMORY", 500_000)
    with pytest.raises(ValueError, match=f"{name} cannot be read .* smaller first"):
        load_photo(tmp_path / name, prepare="resize")


def test_a_jpeg_counts_at_the_size_at_which_it_is_decoded(tmp_path, monkeypatch):
    picture = Image.new("L", (5000, 5000), 99)
    picture.save(tmp_path / "a.jpg")
    picture.save(tmp_path / "progressive.jpg", progressive=True)
    monkeypatch.setattr("fmnist_sklearn.photos.opening._MAX_MEMORY", 120_000_000)
    image = load_photo(tmp_path / "a.jpg", prepare="resize")
    assert np.unique(image).tolist() == [99]
    with pytest.raises(ValueError, match=r"progressive\.jpg .* 150 MB"):
        load_photo(tmp_path / "progressive.jpg", prepare="resize")


def test_a_fifo_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "photo.png")
    (tmp_path / "link.png").symlink_to("photo.png")
    for name in ("photo.png", "link.png"):
        with pytest.raises(OSError, match="is a FIFO, expected a regular file"):
            load_photo(tmp_path / name)
