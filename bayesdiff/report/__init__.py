"""Reports: a saved run, or a .qmd of one's own, becomes one self-contained page. Nothing here can sample."""
