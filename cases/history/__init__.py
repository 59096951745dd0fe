"""Bugs that were real, each as the shortest layout that shows it on the serving side that runs here."""
