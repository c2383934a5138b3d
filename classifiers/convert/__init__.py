"""Bring your own guard model: a Hugging Face classifier, from a folder or the hub, to a pack."""
