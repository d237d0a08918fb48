"""The backends of flujo under the module names of an earlier system, with its queries: base, memory, file, sqlite."""
