"""Pictures of any size and format, read as images of one shape."""

from .folder import load_image_folder
from .reader import ImageReader
from .reading import (
    NO_CLOTHING,
    PREPARATIONS,
    being_read,
    describe_error,
    list_pictures,
    load_photo,
    progress_bar,
    read_pictures,
)

__all__ = [
    "NO_CLOTHING",
    "PREPARATIONS",
    "ImageReader",
    "being_read",
    "describe_error",
    "list_pictures",
    "load_image_folder",
    "load_photo",
    "progress_bar",
    "read_pictures",
]
