"""Pictures of any size and format, read as images of one shape."""

from .folder import ImageReader, load_image_folder
from .picture import PREPARATIONS, load_photo

__all__ = ["PREPARATIONS", "ImageReader", "load_image_folder", "load_photo"]
