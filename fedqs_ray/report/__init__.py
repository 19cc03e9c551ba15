"""Reports: pages and figures of a run, a comparison or a sweep."""
