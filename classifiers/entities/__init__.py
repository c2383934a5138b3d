"""What the pack `entities` is measured with; its patterns lie in `classifiers/packs/entities`."""
