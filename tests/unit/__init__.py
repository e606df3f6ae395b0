"""Each module by itself: these folders mirror the package, a file a module."""
