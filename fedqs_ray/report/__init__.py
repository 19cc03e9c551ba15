"""Reports: pages and pictures of what a run, a comparison or a sweep left behind."""
