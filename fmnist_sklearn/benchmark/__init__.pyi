# Where each name comes from: read by type checkers, and by __init__.py, which loads a
# name when it is first used.
from .compare import corrected_t_test as corrected_t_test
from .compare import mcnemar_test as mcnemar_test
from .compare import rank_models as rank_models
from .data import Images as Images
from .data import load_arrays as load_arrays
from .data import load_data as load_data
from .data import load_pictures as load_pictures
from .data import with_class_names as with_class_names
from .progress import RunProgress as RunProgress
from .progress import Work as Work
from .racing import RacingSearchCV as RacingSearchCV
from .results import BenchmarkResult as BenchmarkResult
from .results import SearchResult as SearchResult
from .results import SetsResult as SetsResult
from .results import describe_hardware as describe_hardware
from .results import describe_versions as describe_versions
from .run import run_benchmark as run_benchmark
from .search import run_search as run_search
from .tables import benchmark_scoring as benchmark_scoring
from .tables import benchmark_table as benchmark_table
from .tables import compare_models as compare_models
from .tables import format_table as format_table
from .tables import table_to_markdown as table_to_markdown
