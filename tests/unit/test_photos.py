import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageOps

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
    """Save a picture and load it with load_photo."""

    def save_and_load(picture, name="photo.png", image_shape=(1, 28, 28), **kwargs):
        picture.save(tmp_path / name, **kwargs)
        return load_photo(tmp_path / name, image_shape)

    return save_and_load


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


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_blank_picture(load, shade):
    image = load(Image.new("L", (30, 20), shade))
    np.testing.assert_array_equal(image, np.zeros((1, 28, 28), dtype=np.uint8))


def test_extreme_proportions(load):
    thin = Image.new("L", (600, 9), 255)
    thin.paste(0, (0, 4, 600, 5))
    assert load(thin)[0].any(axis=0).all()
    assert load(Image.new("L", (1, 1), 255)).max() == 0


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
