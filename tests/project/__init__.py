"""The README, the docs, the records, the exports and the arrows are what they say."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
