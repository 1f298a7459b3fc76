"""One real experiment: all methods at one reduced budget, and the ablations of LightBSR that matter."""
