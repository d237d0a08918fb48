"""The built-in tasks. A new one is a module here, a line in `registry.BUILT_IN`, and its test."""
