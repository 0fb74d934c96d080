"""Pictures: of a step, a chain, a schedule, a calibration. They read trees, and neither compute nor judge.

All return an ``arviz_plots.PlotCollection``, but for the animation: panels | step | particles, chain, schedule,
animation | calibration.
"""

from bayesdiff.plots.step import plot_compare, plot_population, plot_step

__all__ = ["plot_compare", "plot_population", "plot_step"]
