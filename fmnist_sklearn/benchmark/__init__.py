"""Train models and compare them: benchmarks, searches, their tables and reports.

Names are loaded when they are first used, as those of the whole package are: tables of
scikit-learn's estimators need no torch.
"""

import lazy_loader

__getattr__, __dir__, _ = lazy_loader.attach_stub(__name__, __file__)

__all__ = [
    "BenchmarkResult",
    "Images",
    "RunProgress",
    "SearchResult",
    "Work",
    "benchmark_scoring",
    "benchmark_table",
    "describe_hardware",
    "describe_versions",
    "load_data",
    "load_pictures",
    "run_benchmark",
    "run_search",
    "table_to_markdown",
    "with_class_names",
]
