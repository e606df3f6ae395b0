"""A fitted network for where there is no Python: an ONNX graph or a web page."""

from .onnx import export_onnx as export_onnx
from .page import choose_preparation as choose_preparation
from .page import export_html as export_html
from .page import pixel_factor as pixel_factor
