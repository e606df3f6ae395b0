"""What a notebook shows of an estimator, in scikit-learn's diagram."""

from __future__ import annotations

from typing import Any

# The one place that says where the docs are read.
DOCS_URL = "https://fmnist-sklearn.readthedocs.io/en/latest"


class HTMLReprMixin:
    """Facts of the fit and the way to our docs, for scikit-learn's HTML diagram.

    scikit-learn makes the diagram; the methods here are those that it asks. Older
    releases ask for fewer of them.
    """

    _doc_link_module = "fmnist_sklearn"
    _doc_link_template = f"{DOCS_URL}/api/generated/fmnist_sklearn.{{name}}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        return {"name": type(self).__name__}

    def _kept_accuracy(self: Any) -> float | None:
        """Return the validation accuracy of the weights kept, where there is one."""
        return self.history_[self.best_epoch_ - 1].get("valid_acc")

    def _sk_visual_block_(self: Any) -> Any:
        """Return the diagram's box, with what matters most under the name."""
        from sklearn.utils._repr_html.estimator import _VisualBlock

        return _VisualBlock(
            "single",
            self,
            names=type(self).__name__,
            name_details=str(self),
            name_caption=self._caption(),
        )

    def _caption(self: Any) -> str | None:
        if not getattr(self, "history_", None):
            return None
        accuracy = self._kept_accuracy()
        facts = [
            f"epoch {self.best_epoch_} of {self.n_iter_} kept",
            *([] if accuracy is None else [f"validation accuracy {accuracy:.4f}"]),
            f"{self.n_parameters_:,} parameters",
            f"{self.fit_time_:.1f} s on {self.device_}",
        ]
        return " · ".join(facts)

    def _get_fitted_attr_html(self: Any, doc_link: str = "") -> Any:
        """Return the fit's facts for the box, without what skorch works with."""
        from sklearn.utils._repr_html.fitted_attributes import AttrsDict

        facts = {
            "n_iter_": self.n_iter_,
            "best_epoch_": self.best_epoch_,
            "validation accuracy": self._kept_accuracy(),
        }
        for name in (
            "fit_time_",
            "device_",
            "precision_",
            "n_parameters_",
            "image_shape_",
            "classes_",
            "n_features_in_",
            "feature_names_in_",
        ):
            if hasattr(self, name):
                facts[name] = getattr(self, name)
        return AttrsDict(
            fitted_attrs={
                name: _described(value)
                for name, value in facts.items()
                if value is not None
            },
            estimator_class=type(self),
            doc_link=doc_link,
        )


def _described(value: Any) -> dict[str, Any]:
    """Describe a value as scikit-learn's table of attributes takes it."""
    described = {"type_name": type(value).__name__, "value": value}
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        described |= {"dtype": value.dtype, "shape": value.shape}
    elif type(value).__name__ == "device":
        described["value"] = str(value)
    return described
