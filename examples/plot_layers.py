"""
The layers of a network
=======================

Draw the layers of LeNet-5 as boxes, from the rows of ``layer_table``.
"""

# %%
# ``layer_table`` has a row for each layer, with the shape of its output and the number
# of its learnable parameters.
import math

import matplotlib.pyplot as plt

from fmnist_sklearn import LeNet5, layer_table

network = LeNet5()
layer_table(network)

# %%
# Convolutions, pooling and dense layers are drawn; the others keep the shape. A box is
# as high as the images that leave its layer, and wider with more channels.
COLORS = {"Conv2d": "#2563a8", "MaxPool2d": "#ee7f97", "Linear": "#1f7a4d"}

table = layer_table(network)
drawn = []
for row in table.itertuples(index=False):
    name, _, kind = row.layer.removesuffix(")").partition(" (")
    if kind in COLORS:
        drawn.append((name, kind, row.output_shape, row.n_parameters))

fig, ax = plt.subplots(figsize=(9, 3.6), layout="constrained")
for x, (name, kind, shape, n_parameters) in enumerate(drawn):
    # Dense layers have no height: they are drawn by the logarithm of their units.
    height = shape[1] if len(shape) == 3 else 3 * math.log2(1 + shape[0])
    width = 0.12 * (1 + math.log2(shape[0])) if len(shape) == 3 else 0.14
    ax.bar(
        x, height, width, bottom=-height / 2, color=COLORS[kind], alpha=0.75, label=kind
    )
    about = " x ".join(map(str, shape))
    if n_parameters:
        about += f"\n{n_parameters:,}"
    ax.text(x, 17, name, ha="center", va="bottom", fontsize="small")
    ax.text(x, -17, about, ha="center", va="top", fontsize="small")
ax.set(ylim=(-24, 22))
ax.set_axis_off()
handles, labels = ax.get_legend_handles_labels()
by_label = dict(zip(labels, handles, strict=True))
total = table["n_parameters"].sum()
ax.legend(
    by_label.values(),
    by_label.keys(),
    title=f"shape and learnable parameters, {total:,} in all",
    loc="upper center",
    bbox_to_anchor=(0.5, 0),
    ncols=3,
    frameon=False,
)
plt.show()
