"""Models and data sets of the hub on a machine that may never see it: bundles, the models folder, their sums."""
