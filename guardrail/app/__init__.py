"""The application: puts the parts together and runs them. The only place that knows all of them."""
